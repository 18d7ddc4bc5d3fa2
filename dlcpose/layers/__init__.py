"""Network blocks that several parts share."""
