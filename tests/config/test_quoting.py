import re
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import assume, given
from hypothesis import strategies as st

from dlcpose.config.quoting import quote_paths

ODD = [
    "uml_ä尾",
    "eq=1",
    "com,ma",
    "br[1]",
    "pa(1)",
    "hash#1",
    "a&b",
    "it's",
    'quo"te',
    "sp ace",
    "cu{r}ly",
    "back\\slash",
]


def value_of(argument: str) -> object:
    (quoted,) = quote_paths([argument])
    override = OverridesParser.create().parse_override(quoted)
    assert not override.is_sweep_override()
    return override.value()


def means_several(argument: str) -> bool:
    """Whether the grammar reads a sweep in it: `/a/,/b` may be two paths."""
    try:
        return OverridesParser.create().parse_override(argument).is_sweep_override()
    except HydraException:
        return False


@pytest.mark.parametrize("name", ODD)
def test_a_path_means_itself_whatever_is_in_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    for key in ("dataset.root", "++resume", "init_from.checkpoint"):
        assert value_of(f"{key}={tmp_path / name}") == str(tmp_path / name)


@given(
    st.text(alphabet="a=,[](){}#&'\"~ äß尾$:.-", min_size=1).filter(
        lambda text: text[0] not in "'\"" and text.strip() == text
    )
)
def test_a_path_that_the_grammar_refuses_is_taken_as_it_is(name: str) -> None:
    path = f"/nowhere/{name}/x"
    assume(not means_several(f"dataset.root={path}"))
    assert value_of(f"dataset.root={path}") == path


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert value_of("dataset.root=~/my-project") == str(tmp_path / "my-project")


@pytest.mark.parametrize(
    "argument",
    [
        *("optimizer.lr=1e-3", "seed=0,1", "callbacks=[default,freeze]", "~optimizer", "model=resnet_50", "+a.b=c"),
        *(
            "optimizer.lr=choice(1e-3,1e-4)",
            "dataset.root='/a b'",
            "dataset.root=/a/b",
            "dataset.root=/a,/b",
            "--multirun",
        ),
        "dataset.annotations={train:a/b.json,val:a/c.json}",
    ],
)
def test_what_the_grammar_reads_as_it_is_meant_stays(argument: str) -> None:
    assert quote_paths([argument]) == [argument]


def test_options_are_no_overrides() -> None:
    given = ["--config-dir=/data/lr=0.1", "--config-name=train", "-m", "name=a"]
    assert quote_paths(given) == given
    assert quote_paths(["--config-dir=~/lab"]) == [f"--config-dir={Path.home() / 'lab'}"]


def test_a_share_of_a_network_keeps_both_of_its_backslashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where the separator is one that the grammar takes for an escape."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dlcpose.config.quoting.IN_PATHS", re.compile(r"[/~\\]"))
    for name in (r"\\server\mice", r"C:\Users\lab\my mice", r"C:\out"):
        Path(name).mkdir()
        assert value_of(f"dataset.root={name}") == name
