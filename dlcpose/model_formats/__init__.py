"""Formats that trained models are exported to, one file a format."""
