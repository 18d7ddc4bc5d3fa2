import pytest

from dlcpose.structures.errors import DataError
from dlcpose.structures.split import Split


def test_a_split_without_frames_to_train_on_is_refused() -> None:
    with pytest.raises(DataError, match=r"split\.val and split\.test"):
        Split((), ("a",), ("b", "c"))


@pytest.mark.parametrize(
    ("sets", "names"),
    [
        ((("a", "b"), ("b",), ()), "train and val.* b"),
        ((("a",), ("c",), ("a",)), "train and test.* a"),
        ((("a",), ("c", "d"), ("d", "c")), "^2 .*val and test.* c"),
    ],
)
def test_no_frame_is_in_two_sets(sets: tuple[tuple[str, ...], ...], names: str) -> None:
    with pytest.raises(DataError, match=names):
        Split(*sets)


def test_what_is_saved_is_what_is_read() -> None:
    split = Split(("a", "b"), (), ("c",))
    assert Split(**{name: tuple(keys) for name, keys in split.as_dict().items()}) == split
