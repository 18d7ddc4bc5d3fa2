"""Pictures, plots and videos of poses, and text for the terminal."""
