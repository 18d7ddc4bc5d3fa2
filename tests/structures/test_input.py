import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.structures.input import Input, letterbox, native, resize, round_up

SIZES = st.lists(st.tuples(st.integers(8, 2000), st.integers(8, 2000)), min_size=1, max_size=5)


@given(SIZES, st.sampled_from([1, 4, 32]), st.integers(32, 640))
def test_a_letterbox_holds_every_image_and_wastes_less_than_a_multiple(
    sizes: list[tuple[int, int]], multiple: int, longest: int
) -> None:
    height, width = letterbox(sizes, multiple, longest_side=longest).canvas or (0, 0)
    assert height % multiple == width % multiple == 0
    scaled = [min(1, longest / max(size)) for size in sizes]
    for side, needed in (
        (height, max(h * s for (h, _), s in zip(sizes, scaled, strict=True))),
        (width, max(w * s for (_, w), s in zip(sizes, scaled, strict=True))),
    ):
        assert needed - 1e-5 <= side < needed + multiple


def test_small_images_are_not_enlarged() -> None:
    assert letterbox([(100, 120)], 4, longest_side=320).canvas == (100, 120)


def test_native_has_no_canvas() -> None:
    assert native([(100, 120)], 32).canvas is None


@pytest.mark.parametrize("side", [100, 33])
def test_a_size_the_backbone_cannot_take_is_refused_with_one_it_can(side: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 32.*Take {round_up(side, 32)}"):
        resize([(1, 1)], 32, height=side, width=64)


def test_what_is_saved_is_what_is_read() -> None:
    original = Input(64, 96, keep_aspect=False, multiple_of=32, mean=(0, 0.5, 1))
    assert Input.from_dict(original.as_dict()) == original
