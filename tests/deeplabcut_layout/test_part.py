"""Plain values in the grammar of Hydra's overrides."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dlcpose.deeplabcut_layout.part import quoted


@given(st.lists(st.sampled_from(["\\", "'", '"', "$", "{", "}", "${", "a", "oc.env:", " ", ",", "["])).map("".join))
def test_a_text_means_itself_whatever_is_in_it(text: str) -> None:
    value = OverridesParser.create().parse_override(f"a={quoted(text)}").value()
    assert OmegaConf.to_container(OmegaConf.create({"a": value}), resolve=True) == {"a": text}
