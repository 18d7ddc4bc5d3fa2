"""Composing configs with Hydra, and explaining what does not compose."""
