"""Templates of pages: html that needs no other file, whose texts may come from other people's files."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def page_template(path: Path) -> Template:
    """The template in a file. Without escaping, the name of a keypoint or a run could bring a script along."""
    environment = Environment(
        loader=FileSystemLoader(path.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(path.name)
