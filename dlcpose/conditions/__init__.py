"""Sources of the pose conditions that a conditional top-down model is trained with."""
