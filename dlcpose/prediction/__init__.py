"""Prediction of videos: batches, overlap of forward pass and decoding, regions, partial results."""
