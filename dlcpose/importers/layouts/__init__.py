"""Layouts of published weights: what the files of a package look like, and what they become; a module for each package."""
