"""Models of other packages, as checkpoints of ours."""
