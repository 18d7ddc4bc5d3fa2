"""Readers of labelled frames, and the loader that batches them."""
