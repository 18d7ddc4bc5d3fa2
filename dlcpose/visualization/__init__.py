"""Pictures, plots and videos of poses."""
