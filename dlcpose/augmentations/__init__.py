"""Augmentations of our own, as albumentations transforms."""
