"""Loggers, where Lightning's own do not suffice for runs that resume and trackers that may fail."""
