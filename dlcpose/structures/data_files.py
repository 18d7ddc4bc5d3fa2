"""Read untrusted files: only regular files of bounded size, which expand to a bounded number of values."""

import json
import math
import os
import reprlib
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from dlcpose.structures.errors import DataError, DlcposeError

MAX_JSON = 2**30  # bytes; the keypoints of COCO's 118 000 training images are 240 MB
MAX_CONTAINERS = 20_000_000  # lists and mappings in a json, of 64 bytes and more each in memory
MAX_YAML = 10_000_000  # characters
MAX_NODES, MAX_DEPTH = 300_000, 50  # of yaml, with aliases expanded
MAX_DIGITS = 1000  # of a number in yaml: "1:00:00:..." of 300 kB, to the base of 60, takes Python minutes
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MERGE = "tag:yaml.org,2002:merge"  # of the name `<<`
MAX_SHOWN = 80  # characters of a value in a message

# libyaml's reader is ten times as fast as Python's.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_file(path: Path, *, max_bytes: int, error: type[DlcposeError] = DataError) -> bytes:
    """The content of a regular file. Raises `error` for one that is missing, is not a regular file, or is larger."""
    check_file(path, max_bytes=max_bytes, error=error)
    with reading(path, error), path.open("rb") as file:
        content = file.read(max_bytes + 1)  # it may have grown since the check
    if len(content) > max_bytes:
        raise error(f"{path}: expected at most {_size(max_bytes)}, got more. It is no file of this kind.")
    return content


def check_file(path: Path, *, max_bytes: int, error: type[DlcposeError] = DataError) -> None:
    """Raises `error` for what is missing, no regular file (one that never ends, or waits for a writer), or larger."""
    try:
        facts = path.stat()
    except (OSError, ValueError) as reason:
        raise error(
            f"{path}: cannot be read ({getattr(reason, 'strerror', None) or reason}). Correct the path."
        ) from reason
    if not stat.S_ISREG(facts.st_mode):
        raise error(f"{path}: expected a file, got {_kind(facts.st_mode)}. Replace it by the file itself.")
    if facts.st_size > max_bytes:
        raise error(
            f"{path}: expected at most {_size(max_bytes)}, got {_size(facts.st_size)}. It is no file of this kind."
        )


class InsideFolder:
    """A check that files lie within a folder, links resolved; each parent folder is resolved once."""

    def __init__(self, root: Path) -> None:
        self.root, self._has_folder = root.resolve(), dict[str, bool]()

    def check(self, path: Path) -> None:
        """Raises DataError for a file that lies elsewhere, by its path or by a link."""
        folder, name = os.path.split(path)
        try:
            if folder not in self._has_folder:
                self._has_folder[folder] = Path(folder).resolve().is_relative_to(self.root)
            if self._has_folder[folder] and name not in ("", "..") and not path.is_symlink():
                return
            place = path.resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a loop of links, or an invalid name
            raise DataError(
                f"{path}: no such file ({getattr(error, 'strerror', None) or error}). Correct it."
            ) from error
        if not place.is_relative_to(self.root):
            raise DataError(
                f"{path}: it leads out of the data set's folder, to {place}. Copy the file there, or, where you trust the "
                "data, follow such links (dataset.follow_links=true, --follow-links)."
            )


def is_file(path: Path) -> bool:
    """Whether there is a file at a path; False for an invalid name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


@contextmanager
def reading(path: object, error: type[DlcposeError] = DataError) -> Iterator[None]:
    """Within it, every exception while a file is read becomes `error`, in one line that names the file.

    A broken file can make its reader raise anything, MemoryError and RecursionError included.
    """
    try:
        yield
    except DlcposeError:
        raise
    except Exception as reason:
        text = " ".join(str(getattr(reason, "strerror", None) or reason).split())
        raise error(f"{path}: cannot be read ({type(reason).__name__}: {text[:200]}). Replace the file.") from reason


@contextmanager
def naming_file(path: object) -> Iterator[None]:
    """Within it, a ValueError over the values of a file becomes a DataError that names the file."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def read_json(
    path: Path, *, max_bytes: int = MAX_JSON, finite: bool = False, error: type[DlcposeError] = DataError
) -> Any:
    """The content of a json. Raises `error` for a file that is missing, too large, or does not parse; rest as parse_json."""
    content = read_file(path, max_bytes=max_bytes, error=error)
    return parse_json(content, path, finite=finite, error=error)


def parse_json(content: bytes, source: object, *, finite: bool = False, error: type[DlcposeError] = DataError) -> Any:
    """The value of a json text. source: the name of the file, for errors.

    finite: whether NaN, Infinity and 1e999 are refused wherever they stand. Other programs write them for what they do
    not know, in places that may not be read.
    """
    if content.count(b"[") + content.count(b"{") > MAX_CONTAINERS:
        raise error(f"{source}: expected at most {MAX_CONTAINERS} lists and mappings, got more.")

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):  # the last of them would count
            name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
            raise error(
                f"{source}: {shown(name)} stands more than once in one mapping. Remove all but one of its values."
            )
        return found

    number = _finite if finite else None
    try:
        return json.loads(content, object_pairs_hook=mapping, parse_float=number, parse_constant=number)
    except (ValueError, RecursionError, MemoryError) as reason:
        text = " ".join(str(reason).split())[:200] or type(reason).__name__
        raise error(f"{source}: expected json, got something that does not parse ({text}).") from reason


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number


def read_yaml(path: Path, *, error: type[DlcposeError] = DataError, simple_merges: bool = False) -> Any:
    """The value of a yaml file, as parse_yaml takes it. Raises `error` for one that is missing, too large or no yaml."""
    content = read_file(path, max_bytes=MAX_YAML, error=error)
    with reading(path, error):
        text = content.decode("utf-8-sig")
    return parse_yaml(text, path, error=error, simple_merges=simple_merges)


def parse_yaml(text: str, source: object, *, error: type[DlcposeError] = DataError, simple_merges: bool = False) -> Any:
    """The value of a yaml text: plain values only. source: the name of the file, for errors.

    simple_merges: whether merges (`<<`) that other readers give other values are refused: for files that these read too.

    Raises `error` for a text that does not parse, that has a name twice in one mapping, or that unfolds to more than a config
    has: a few lines of aliases to aliases stand for more values than memory holds.
    """
    if len(text) > MAX_YAML:
        raise error(f"{source}: expected at most {MAX_YAML} characters of yaml, got {len(text)}.")
    try:
        _check_nesting(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node)
            _check_names(node, loader, source, error)
            _merge(node, loader, simple=simple_merges)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except DlcposeError:
        raise
    except Exception as reason:  # its constructors raise errors of many types for bad dates or numbers
        mark = getattr(reason, "problem_mark", None)
        what = reason if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {reason.problem}"  # type: ignore[attr-defined]
        said = " ".join(str(what).split())[:200] or type(reason).__name__
        raise error(f"{source}: expected yaml, got something that does not parse ({said}).") from reason


def as_yaml(value: Any) -> str:
    """A plain value as a yaml text that `parse_yaml` takes.

    Surrogates are no characters in yaml: texts are written `as_utf8`.
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False)
    return text


def as_utf8(text: str) -> str:
    """A text that UTF-8 has bytes for, as most files need it.

    A file's name that is no UTF-8, or that the locale could not decode (`LC_ALL=POSIX`), holds surrogates: it becomes the
    UTF-8 that its bytes are, with a replacement character where they are none.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        with suppress(UnicodeEncodeError):  # surrogates that stand for no bytes become question marks
            text = text.encode(errors="surrogateescape").decode(errors="replace")
        text = text.encode(errors="replace").decode()
    return text


class _Dumper(yaml.SafeDumper):
    """PyYAML's, of texts that yaml can hold."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_str(as_utf8(text))


_Dumper.add_representer(str, _represent_text)


def shown(value: object) -> str:
    """A value as messages show it: printable and cut off."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # of thousands of digits, or of an object whose repr fails
        text = type(value).__name__
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 3


def _check_nesting(text: str) -> None:
    """Refuse deep nesting, before any recursive function visits it."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH or count > 2 * MAX_NODES:
            raise ValueError(f"expected at most {MAX_DEPTH} levels and {MAX_NODES} values, got more")


def _check_size(root: Any) -> None:
    """Refuse recursive nodes, and those whose aliases expand to more values than a config has."""
    measured: dict[int, tuple[int, int]] = {}  # number of values and levels of each visited node
    inside: set[int] = set()

    def measure(node: Any) -> tuple[int, int]:
        if id(node) in inside:
            raise ValueError("a value contains itself")
        if id(node) not in measured:
            if node.tag in NUMBERS and len(node.value) > MAX_DIGITS:
                raise ValueError(f"a number of {len(node.value)} digits")
            inside.add(id(node))
            inner = node.value if isinstance(node, yaml.CollectionNode) else ()
            parts = [measure(part) for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
            count, depth = 1 + sum(each for each, _ in parts), 1 + max((levels for _, levels in parts), default=0)
            if count > MAX_NODES or depth > MAX_DEPTH + 1:
                raise ValueError(f"its aliases stand for more than {MAX_NODES} values or {MAX_DEPTH} levels")
            measured[id(node)] = count, depth
            inside.remove(id(node))
        return measured[id(node)]

    measure(root)


def _check_names(root: Any, loader: Any, source: object, error: type[DlcposeError]) -> None:
    """Refuse a name that stands twice in one mapping: the last would count, and DeepLabCut's own reader refuses it."""
    nodes, visited = [root], {id(root)}
    while nodes:
        node = nodes.pop()
        entries = node.value if isinstance(node, yaml.MappingNode) else ()
        first: dict[Any, Any] = {}
        for name, _ in entries:
            if isinstance(name, yaml.ScalarNode) and name.tag != MERGE:  # of several merges none is lost
                other = first.setdefault(loader.construct_object(name), name)
                if other is not name:
                    raise error(
                        f"{source}: line {name.start_mark.line + 1}: {shown(name.value)} stands twice in one mapping, "
                        f"first in line {other.start_mark.line + 1}. Remove one of the two."
                    )
        inner = [part for entry in entries for part in entry] or (
            node.value if isinstance(node, yaml.SequenceNode) else []
        )
        for part in inner:
            if id(part) not in visited:
                visited.add(id(part))
                nodes.append(part)


def _merge(root: Any, loader: Any, *, simple: bool) -> None:
    """Put the entries that mappings merge (`<<`) into them: their own count, then those of the first of several.

    PyYAML takes the last, of a mapping that is merged into another and has merged entries itself, and of some lists.
    """
    merged: set[int] = set()  # nodes that have been
    merging: set[int] = set()  # and mappings among them that merge others

    def merge(node: Any) -> None:
        if id(node) in merged or not isinstance(node, yaml.CollectionNode):
            return
        merged.add(id(node))
        for part in node.value:
            for inner in part if isinstance(part, tuple) else (part,):
                merge(inner)
        if not isinstance(node, yaml.MappingNode) or all(name.tag != MERGE for name, _ in node.value):
            return
        sources = [source for name, value in node.value if name.tag == MERGE for source in _sources(name, value)]
        merging.add(id(node))
        if simple and (len(sources) > 1 or any(id(source) in merging for source in sources)):
            raise _unreadable(
                node, "it merges (`<<`) several mappings, or one that merges others: write its values out"
            )
        entries: dict[Any, tuple[Any, Any]] = {}
        for source in sources:
            for name, value in source.value:
                entries.setdefault(_name_of(name, loader), (name, value))
        own = ((name, value) for name, value in node.value if name.tag != MERGE)
        node.value = list((entries | {_name_of(name, loader): (name, value) for name, value in own}).values())

    merge(root)


def _sources(name: Any, value: Any) -> list[Any]:
    """The mappings that an entry `<<` merges."""
    sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
    if not all(isinstance(source, yaml.MappingNode) for source in sources):
        raise _unreadable(name, "expected a mapping, or a list of mappings, to merge")
    return list(sources)


def _name_of(node: Any, loader: Any) -> Any:
    """What a name is told apart by; what is no name is refused as it is constructed."""
    return loader.construct_object(node) if isinstance(node, yaml.ScalarNode) else id(node)


def _unreadable(node: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count} bytes"


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    return next((name for is_kind, name in kinds.items() if is_kind(mode)), "something else")
