"""What watches a run: pictures, progress, collapse."""
