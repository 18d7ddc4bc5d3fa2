"""Backbones: from an image to a list of feature maps."""
