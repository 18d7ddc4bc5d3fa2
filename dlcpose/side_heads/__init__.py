"""What is read beside the animals from the same features: one file for each kind."""
