"""How a condition reaches the network that looks at a crop."""
