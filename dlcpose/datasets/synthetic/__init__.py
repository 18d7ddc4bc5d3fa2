"""Rendered animals with exact labels."""
