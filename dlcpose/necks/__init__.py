"""From a list of feature maps to the one a head reads."""
