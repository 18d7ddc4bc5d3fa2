"""Dataclasses that only check themselves: what the parts hand to each other."""
