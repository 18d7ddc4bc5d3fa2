"""Plain values in the grammar of Hydra's overrides."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dlcpose.deeplabcut_layout.part import quoted

PIECES = [
    "\\",
    "'",
    '"',
    "$",
    "{",
    "}",
    "${",
    "a",
    "oc.env:",
    " ",
    ",",
    "[",
    "/",
    ".",
    "-",
    "1",
    "_",
    "e",
    "é",
    "true",
    "null",
    "inf",
]


@settings(max_examples=100)
@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_a_text_means_itself_whatever_is_in_it(text: str) -> None:
    value = OverridesParser.create().parse_override(f"a={quoted(text)}").value()
    assert OmegaConf.to_container(OmegaConf.create({"a": value}), resolve=True) == {"a": text}


@pytest.mark.parametrize("text", ["hrnet_w32", "/data/mice-Ann-2026-01-01", "labs/a.b/mice"])
def test_what_needs_no_quotes_has_none(text: str) -> None:
    assert quoted(text) == text
