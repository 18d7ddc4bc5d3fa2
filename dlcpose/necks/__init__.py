"""Necks: from a backbone's list of feature maps to the one that the heads read."""
