"""Names of individuals and videos as parts of file names: they come from strangers' files and must not lead elsewhere."""

import re


def file_part(name: str) -> str:
    """A name as one part of a path: characters that a file system refuses become `_`, and so do `.` and `..`."""
    clean = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name)
    return "_" if clean in (".", "..") else clean
