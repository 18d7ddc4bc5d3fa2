"""Counts of things in messages: `1 frame`, `2 frames`."""


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number and what there are so many of; several: what more than one, or none, is called, `one` with an s unless given.

    Both may go on with the verb: `counted(n, "frame has", "frames have")`.
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"
