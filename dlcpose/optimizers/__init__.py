"""From a pipeline's named weights to an optimizer, where torch's own do not suffice."""
