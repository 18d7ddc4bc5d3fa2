"""What is done to the poses of a whole video after prediction: filters, ensembles, the choice of frames to label."""
