"""Renderer of synthetic labeled frames: bodies, arena and drawing."""
