"""What finds the boxes of animals for the top-down pipeline."""
