"""Losses: pure functions of (pred, target) tensors, NaN in the target where unsupervised."""
