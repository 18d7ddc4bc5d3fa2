"""Lightning callbacks: checkpoints, preemption, pictures, progress, weight averaging, pruning."""
