"""From the poses of single frames to tracks of a known number of animals, their likely swaps and corrections."""
