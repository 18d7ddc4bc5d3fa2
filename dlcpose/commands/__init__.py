"""The commands: each a plot of build, run and report."""
