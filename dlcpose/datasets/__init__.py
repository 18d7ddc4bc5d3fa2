"""Data sets of labelled frames: readers, splits, augmentation of keypoints, and the data module."""
