"""Losses on unlabeled videos."""
