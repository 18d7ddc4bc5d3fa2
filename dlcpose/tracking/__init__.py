"""From poses in frames to tracks of animals."""
