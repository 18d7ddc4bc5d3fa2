"""Run folders, and what of a run survives a kill."""
