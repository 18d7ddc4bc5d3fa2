"""Sort names as people do: by the numbers in them, 2 before 10 and 1e-05 before 0.001."""

import re

NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)")


def natural_key(name: str) -> tuple[tuple[str | float, ...], str]:
    """A key for `sorted`: texts and numbers of a name in turn, and the name itself where these are equal."""
    parts = NUMBER.split(name)  # texts at even places, of which the first may be empty
    return tuple(float(part) if place % 2 else part for place, part in enumerate(parts)), name
