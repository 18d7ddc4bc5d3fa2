import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.structures.data_files import (
    MAX_DEPTH,
    InsideFolder,
    as_yaml,
    check_file,
    parse_json,
    parse_yaml,
    read_file,
    shown,
)
from dlcpose.structures.errors import ConfigError, DataError

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
)


def test_only_regular_files_of_bounded_size_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zeros.csv").symlink_to("/dev/zero")
    (tmp_path / "large.csv").write_bytes(b"12345")
    for name in ("pipe.csv", "zeros.csv", "large.csv", "none.csv", "."):
        with pytest.raises(DataError, match=name.replace(".", r"\.") if name != "." else str(tmp_path)):
            read_file(tmp_path / name, max_bytes=4)
    check_file(tmp_path / "large.csv", max_bytes=5)
    assert read_file(tmp_path / "large.csv", max_bytes=5) == b"12345"


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "&a [*a]",
        "[" * 5_000 + "]" * 5_000,
        "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH + 10))]),
        "y: 2024-99-99",
        "y: !!int abc",
        "y: !!python/object/apply:os.getcwd []",
        "y: " + "9" * 5_000,
        "y: 1" + ":00" * 100_000,
        "- a\nb: c",
        "? [a]\n: b",
    ],
    ids=[
        "laughs",
        "itself",
        "nested",
        "deep by aliases",
        "date",
        "int",
        "object",
        "digits",
        "digits to the base of 60",
        "no yaml",
        "a list as key",
    ],
)
def test_yaml_that_unfolds_or_does_not_parse_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DataError, match=r"config\.yaml") as caught:
        parse_yaml(text, "config.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_yaml_with_an_alias_of_ordinary_size_is_read() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a\n", "x") == {"a": [1, 2], "b": [1, 2]}
    assert parse_yaml("", "x") is None


@pytest.mark.parametrize(
    ("text", "name", "lines"),
    [
        ("a: 1\nb: 2\na: 1\n", "'a'", (1, 3)),
        ("x:\n- {a: 1}\n- a: 1\n  'a': 2\n", "'a'", (3, 4)),
        ("1: x\n0x1: y\n", "'0x1'", (1, 2)),
        ("x: &a {b: 1, b: 2}\ny: *a\n", "'b'", (1, 1)),
    ],
    ids=["at the top", "within a list", "numbers", "in one line"],
)
def test_a_name_twice_in_one_mapping_of_yaml_is_refused_with_its_lines(
    text: str, name: str, lines: tuple[int, int]
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "config.yaml", error=ConfigError)
    assert str(caught.value) == (
        f"config.yaml: line {lines[1]}: {name} stands twice in one mapping, first in line {lines[0]}. Remove one of the two."
    )


def test_a_name_twice_in_one_mapping_of_json_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^a\.json: 'id' stands more than once in one mapping\. Remove .*\.$"):
        parse_json(b'{"images": [{"id": 1}, {"id": 2, "file_name": "a", "id": 3}]}', "a.json", error=ConfigError)
    assert parse_json(b'[{"id": 1}, {"id": 1}, {"a": {"id": 1}, "id": 1}]', "a.json")[2] == {"a": {"id": 1}, "id": 1}


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_of_json_are_finite_where_they_have_to_be(number: str) -> None:
    text = f'{{"a": [{{"unread": {number}}}]}}'.encode()
    with pytest.raises(DataError, match=rf"^a\.json: .*{number} is no finite number"):
        parse_json(text, "a.json", finite=True)
    assert parse_json(text, "a.json")["a"]
    assert parse_json(b"[1.5, 2]", "a.json", finite=True) == [1.5, 2]


def test_a_mapping_may_overwrite_what_it_merges() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: {inner: &inner {<<: *base, a: 3}}\nlast: {<<: *inner, c: 4}\n"
    content = parse_yaml(text, "config.yaml")
    assert content["more"]["inner"] == {"a": 3, "b": 2}
    assert content["last"] == {"a": 3, "b": 2, "c": 4}


@pytest.mark.parametrize(
    ("merging", "expected"),
    [
        ("{<<: *nested}", {"rate": 3, "size": 2, "own": 5}),
        ("{<<: *nested, size: 7}", {"rate": 3, "size": 7, "own": 5}),
        ("{<<: [*other, *base]}", {"rate": 8, "size": 2, "own": 9}),
        ("{<<: [*base, *nested]}", {"rate": 1, "size": 2, "own": 5}),
        ("{<<: *other, <<: *base}", {"rate": 8, "size": 2, "own": 9}),
        ("{<<: *twice}", {"rate": 3, "size": 2, "own": 4}),
        ("{<<: []}", {}),
    ],
    ids=["nested", "overwritten", "a list", "a list of nested", "several", "twice nested", "nothing"],
)
def test_what_a_mapping_merges_counts_as_yaml_says(merging: str, expected: dict[str, int]) -> None:
    text = (
        "base: &base {rate: 1, size: 2}\nother: &other {rate: 8, own: 9}\nnested: &nested {rate: 3, own: 5, <<: *base}\n"
        f"twice: &twice {{<<: *nested, own: 4}}\nlast: {merging}\nagain: {merging}\n"
    )
    content = parse_yaml(text, "config.yaml")
    assert content["last"] == content["again"] == expected
    assert content["nested"] == {"rate": 3, "own": 5, "size": 2}


@pytest.mark.parametrize("value", ["1", "[{a: 1}, 2]", "{<<: 3}", "*list"])
def test_what_is_no_mapping_is_not_merged(value: str) -> None:
    with pytest.raises(DataError, match=r"^config\.yaml: .*line 2, column \d+: expected a mapping"):
        parse_yaml(f"list: &list [{{a: 1}}, x]\nb: {{<<: {value}}}\n", "config.yaml")


def test_merges_that_other_readers_take_otherwise_are_refused_for_files_that_these_read() -> None:
    base, nested = "base: &base {rate: 1}\n", "more: &more {rate: 2, <<: *base}\n"
    for merging in ("*more", "[*base, *more]", "[*base, *base]"):
        with pytest.raises(ConfigError, match=r"config\.yaml: .*line 3, column 7: it merges .*: write its values out"):
            parse_yaml(f"{base}{nested}last: {{<<: {merging}}}\n", "config.yaml", error=ConfigError, simple_merges=True)
    assert parse_yaml(base + nested, "config.yaml", simple_merges=True)["more"] == {"rate": 2}


@pytest.mark.parametrize("text", [b"[" * 100_000, b"{", b"\xff", b"9" * 5_000])
def test_json_that_does_not_parse_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.json") as caught:
        parse_json(text, "a.json")
    assert "\n" not in str(caught.value)


def test_files_stay_within_a_folder_whatever_links_lead_to(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (root / "video", elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    (root / "link.png").symlink_to(elsewhere / "a.png")
    (root / "own.png").symlink_to(root / "video" / "a.png")
    (root / "folder").symlink_to(elsewhere)
    (tmp_path / "linked project").symlink_to(root)
    for folder in (root, tmp_path / "linked project"):
        inside = InsideFolder(folder)
        for path in (folder / "video" / "a.png", folder / "own.png", folder / "video" / ".." / "own.png"):
            inside.check(path)
        for path in (
            folder / "link.png",
            folder / "folder" / "a.png",
            folder / "../elsewhere/a.png",
            Path("/etc/passwd"),
        ):
            with pytest.raises(DataError, match="follow_links"):
                inside.check(path)


def test_values_in_messages_are_cut_off() -> None:
    value: list[object] = []
    value.append(value)
    for each in ("x" * 10**6, list(range(10**5)), {n: n for n in range(10**5)}, 10**5_000, value):
        assert len(shown(each)) <= 80


@given(text=st.text(st.characters(codec=None)))
def test_what_is_written_as_yaml_is_read_back(text: str) -> None:
    content = {"root": text, text: [text, 1.5, None]}
    try:
        text.encode()
    except UnicodeEncodeError:  # no text that a yaml file can hold
        assert list(parse_yaml(as_yaml({"root": text}), "it")) == ["root"]
    else:
        assert parse_yaml(as_yaml(content), "it") == content


def test_names_of_files_that_the_locale_cannot_decode_are_written_in_utf8() -> None:
    name = "Käfig".encode().decode("ascii", "surrogateescape")
    assert parse_yaml(as_yaml({"root": name}), "it") == {"root": "Käfig"}
