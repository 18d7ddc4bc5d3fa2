"""Dataclasses that the components hand to each other, and what all of them build on."""
