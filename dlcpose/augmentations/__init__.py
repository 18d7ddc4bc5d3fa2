"""Augmentations: what training frames go through at random, as albumentations transforms."""
