"""Losses on videos that nobody labeled."""
