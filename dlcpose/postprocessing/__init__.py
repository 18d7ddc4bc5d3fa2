"""Postprocessing of the poses of a whole video: filters, ensembles, the choice of frames to label."""
