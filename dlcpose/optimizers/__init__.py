"""Optimizers built from a pipeline's named weights, where torch's own do not suffice."""
