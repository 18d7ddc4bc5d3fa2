"""Commands: one file each, which registers itself; what they need of torch is imported when they run."""
