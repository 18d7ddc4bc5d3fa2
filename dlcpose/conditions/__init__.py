"""Where the conditions come from that a conditioned model learns from."""
