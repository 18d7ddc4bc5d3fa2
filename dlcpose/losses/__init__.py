"""Losses as pure functions of found and wanted tensors."""
