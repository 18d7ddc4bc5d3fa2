"""Pictures, plots and videos of poses, templates of pages, and text for the terminal."""
