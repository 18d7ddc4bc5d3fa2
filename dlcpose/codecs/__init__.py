"""Pure arithmetic between points, maps and matrices."""
