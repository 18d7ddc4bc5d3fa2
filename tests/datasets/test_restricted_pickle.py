import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dlcpose.datasets.restricted_pickle import load_restricted_pickle
from dlcpose.structures.errors import DataError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)
arrays = hnp.arrays(
    st.sampled_from([np.bool_, np.int8, np.int64, np.uint16, np.float32, np.float64, ">i4", "U3"]),
    hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
)


class Calls:
    """A pickle of this calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@given(plain, st.sampled_from(PROTOCOLS))
def test_plain_values_come_back(value: object, protocol: int) -> None:
    assert load_restricted_pickle(pickle.dumps(value, protocol), "x") == value


@given(arrays, st.sampled_from(PROTOCOLS), st.booleans())
def test_arrays_come_back(array: np.ndarray, protocol: int, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran and array.ndim else array
    found, scalar = load_restricted_pickle(pickle.dumps([array, array.ravel()[:1]], protocol), "x")
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(scalar, array.ravel()[:1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_and_arrays_of_names_come_back(protocol: int) -> None:
    value = [np.float32(0.5), np.int64(-3), np.str_("left"), np.array(["a", None, (1, 2)], object), {1, 2}]
    found = load_restricted_pickle(pickle.dumps(value, protocol), "x")
    assert found[:3] == [0.5, -3, "left"]
    assert found[3].tolist() == ["a", None, (1, 2)]
    assert found[4] == {1, 2}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps({"data": Calls(os.mkdir, str(tmp_path / "ours"))}, protocol)
    with pytest.raises(DataError, match=r"^split\.pickle: expected a pickle of plain values.*names .*\.mkdir"):
        load_restricted_pickle(content, "split.pickle")
    assert not (tmp_path / "ours").exists()
    pickle.loads(pickle.dumps({"data": Calls(os.mkdir, str(tmp_path / "theirs"))}, protocol))
    assert (tmp_path / "theirs").exists()  # so the file was dangerous indeed


@pytest.mark.parametrize(
    "value",
    [
        Calls(eval, "1 + 1"),
        Calls(getattr, "", "join"),
        Calls(np.load, "x.npy"),
        Calls(np.frompyfunc, len, 1, 1),
        np.zeros(2, [("a", "i4"), ("b", "O")]),
        np.array(["2020"], "datetime64[Y]"),
        Path("x"),
    ],
    ids=["eval", "getattr", "numpy.load", "numpy.frompyfunc", "objects in fields", "dates", "path"],
)
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(DataError, match="cannot be read safely"):
        load_restricted_pickle(pickle.dumps(value), "x")


def test_a_forged_dtype_cannot_hide_objects() -> None:
    """numpy trusts a dtype's flags: one of bytes said to be objects would make it follow them as addresses."""
    state = (1, (1,), np.dtype("O"), False, b"\x01" * 8)
    array = Calls(np.ndarray.__reduce__(np.zeros(1))[0], np.ndarray, (0,), b"b")
    array.call = (*array.call, state)
    with pytest.raises(DataError, match="malformed array"):
        load_restricted_pickle(pickle.dumps(array), "x")
    array.call = (*array.call[:2], (1, (5,), np.dtype("O"), False, ["only one"]))
    with pytest.raises(DataError, match="malformed array"):
        load_restricted_pickle(pickle.dumps(array), "x")


@given(st.data())
def test_broken_pickles_are_one_kind_of_error(data: st.DataObject) -> None:
    content = bytearray(
        pickle.dumps([np.arange(4), {"a": (1, 2.5)}, np.float64(2)], data.draw(st.sampled_from(PROTOCOLS)))
    )
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    value, said = None, "x: "
    try:
        value = load_restricted_pickle(bytes(content[: data.draw(st.integers(0, len(content)))]), "x")
    except DataError as error:
        said = str(error)
    assert said.startswith("x: ")
    assert type(value).__module__ in ("builtins", "numpy")


@pytest.mark.parametrize(
    "content",
    [
        *(b"\x80\x04r\x00\x00\x00\x10.", b"\x80\x04\x8e" + b"\xff" * 8 + b".", b"I" + b"9" * 5_000 + b"\n."),
        b"\x80\x05\x96" + (2**30).to_bytes(8, "little") + b".",  # a bytearray that is said to be of 1 GB
        b"\x80\x03cnumpy._core.numeric\n_frombuffer\n(J\x00\x00\x00\x40cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85RK\x01\x85X\x01"
        b"\x00\x00\x00CtR.",  # an array of a number of bytes
    ],
)
def test_a_few_bytes_take_no_memory(content: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(DataError):
        load_restricted_pickle(content, "a.pickle")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["key", "member", "frozen", "list", "colliding keys"])
def test_a_few_bytes_take_no_time(kind: str) -> None:
    content = b"\x80\x04" + (b"]q\x00" if kind == "list" else b"K\x01\x85q\x00")
    for place in range(1, 60):  # each holds the one before twice
        before, mark = b"h%c" % (place - 1), b"q%c" % place
        content += b"]" + mark + before + b"a" + before + b"a" if kind == "list" else before * 2 + b"\x86" + mark
    last = b"h%c" % 59
    content += {
        "key": b"}" + last + b"K\x01s.",
        "member": b"cbuiltins\nset\n]" + last + b"a\x85R.",
        "frozen": b"(" + last + b"\x91.",
        "list": b".",
        "colliding keys": b"",
    }[kind]
    if kind == "colliding keys":  # their hashes are all 0
        content = pickle.dumps({number * (2**61 - 1): 0 for number in range(1000)})
    with pytest.raises(DataError, match="cannot be read safely"):
        load_restricted_pickle(content, "a.pickle")
