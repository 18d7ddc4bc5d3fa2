"""Data sets of labeled frames: readers, splits, augmentation of keypoints, and the data module."""
