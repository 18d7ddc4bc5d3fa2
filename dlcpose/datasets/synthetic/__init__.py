"""Renderer of synthetic labelled frames: bodies, arena and drawing."""
