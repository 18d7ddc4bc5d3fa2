"""Detectors of animals' boxes for top-down models."""
