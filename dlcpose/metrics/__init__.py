"""Metrics: figures computed from predictions and ground truth. One file each, described in `metrics.base`."""
