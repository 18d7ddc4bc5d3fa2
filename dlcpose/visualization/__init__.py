"""Pictures and videos to look at."""
