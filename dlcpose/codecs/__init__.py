"""Pure functions between keypoints, maps and matrices: targets are encoded and predictions decoded by them."""
