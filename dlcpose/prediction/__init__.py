"""Prediction of frames and videos, by pipelines and by exported graphs: batches, precision, regions, partial results."""
