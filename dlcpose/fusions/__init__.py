"""Fusions: how a pose condition reaches the network that sees a crop."""
