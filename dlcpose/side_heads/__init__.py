"""Side heads: outputs other than poses, from the same features; one file per kind."""
