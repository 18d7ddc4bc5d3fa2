"""Run folders: run.json, checkpoints, resuming, sweeps, several processes, provenance."""
