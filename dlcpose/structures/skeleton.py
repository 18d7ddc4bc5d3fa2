"""The skeleton of an animal: keypoint names, edges between them, left/right pairs and OKS sigmas."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT_SIGMA = 0.1  # one value for all keypoints, as DeepLabCut evaluates with
SIGMAS = (1e-6, 1e3)  # what one may be: OKS divides by its square


@dataclass(frozen=True)
class Skeleton:
    """Keypoint names, edges, left/right pairs and OKS sigmas of one kind of animal.

    names: K keypoint names. edges and pairs: index pairs into them. sigmas: K values (COCO's definition), or none for
    0.1 each. unique: names of the U unique keypoints, which belong to no animal; unique_pairs: index pairs into those.
    Raises ValueError on a name that is no text or stands twice, an index out of range, a keypoint in pairs with two others,
    or sigmas of another length or that are no positive numbers.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()
    unique: tuple[str, ...] = ()
    unique_pairs: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("A skeleton needs at least one keypoint, got none.")
        if not self.sigmas:
            object.__setattr__(self, "sigmas", (DEFAULT_SIGMA,) * len(self.names))
        if len(self.sigmas) != len(self.names):
            raise ValueError(f"Expected a sigma for each of the {len(self.names)} keypoints, got {len(self.sigmas)}.")
        for kind, names in (("keypoint", self.names), ("unique keypoint", self.unique)):
            if others := [name for name in names if not isinstance(name, str)]:
                raise ValueError(f"Each {kind} needs a name, got {others[0]!r:.80}.")
            check_names(kind, names)
            if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
                raise ValueError(f"Each {kind} needs a name of its own, but {repeated} stand more than once.")
        sigmas: tuple[Any, ...] = self.sigmas  # of a file, where they may be anything
        for sigma in sigmas:
            if isinstance(sigma, str) or not SIGMAS[0] <= sigma <= SIGMAS[1]:  # NaN is not
                raise ValueError(f"Expected sigmas from {SIGMAS[0]:g} to {SIGMAS[1]:g}, got {sigma!r:.80}.")
        _check_indices("edge", self.edges, self.names)
        _check_indices("left/right pair", self.pairs, self.names)
        _check_indices("left/right pair of unique keypoints", self.unique_pairs, self.unique)
        _check_pairs(self.names, self.flip_order)
        _check_pairs(self.unique, self.unique_flip_order)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def flip_order(self) -> tuple[int, ...]:
        """The keypoint at each place after a left/right flip: (K,), its own inverse."""
        return _flip_order(len(self.names), self.pairs)

    @property
    def unique_flip_order(self) -> tuple[int, ...]:
        """The same for the unique keypoints: (U,)."""
        return _flip_order(len(self.unique), self.unique_pairs)

    def as_dict(self) -> dict[str, Any]:
        """Plain lists and names, for a checkpoint or a json file."""
        return {
            "names": list(self.names),
            "edges": [list(edge) for edge in self.edges],
            "pairs": [list(pair) for pair in self.pairs],
            "sigmas": list(self.sigmas),
            "unique": list(self.unique),
            "unique_pairs": [list(pair) for pair in self.unique_pairs],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Skeleton":
        """The skeleton that `as_dict` wrote."""
        try:
            return cls(
                names=tuple(content["names"]),
                edges=_index_pairs(content["edges"]),
                pairs=_index_pairs(content["pairs"]),
                sigmas=tuple(float(sigma) for sigma in content["sigmas"]),
                unique=tuple(content["unique"]),
                unique_pairs=_index_pairs(content["unique_pairs"]),
            )
        except OverflowError as error:  # of a file, whose numbers may be infinite
            raise ValueError(f"Expected keypoints by their numbers, and finite sigmas ({error}).") from error


def check_names(kind: str, names: Iterable[str]) -> None:
    """Raises ValueError for a name that tables cannot hold.

    JSON has escapes for the null character, which ends texts in HDF5, and for surrogates, which UTF-8 has no bytes for.
    """
    for name in names:
        if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
            raise ValueError(f"Each {kind} needs a name of plain characters, got {name!r:.80}.")


def pairs_from_names(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Left/right pairs inferred from names: leftear/rightear, eyeL/eyeR, L_Eye/R_Eye, Ear_L/Ear_R.

    A name is a left one when replacing its mark for left by the one for right gives another name of the list.
    """
    place = {name: index for index, name in enumerate(names)}
    pairs, paired = [], set[str]()
    for right_names in (_right_words, _right_letters):  # the clearest marks first, of all names
        for name, left in place.items():
            others = (other for other in right_names(name) if other != name and other in place)
            right = next(others, None)
            if right is not None and name not in paired and right not in paired:
                pairs.append((left, place[right]))
                paired |= {name, right}
    return tuple(sorted(pairs))


def _right_words(name: str) -> Iterable[str]:
    """Candidates for the right-hand counterpart of a left-hand name, whose mark is a word."""
    for left, right in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
        if left in name:
            yield name.replace(left, right)


def _right_letters(name: str) -> Iterable[str]:
    """Those of a name whose mark is a letter."""
    # A single L is a mark only at the start or end of a word: L_Eye, Ear_L, L1, eyeL, wingL, forelegL2.
    yield re.sub(r"(?<![A-Za-z])L(?=[_\-. A-Z]|\d*$)", "R", name)
    yield re.sub(r"(?<=[a-z_\-. ])L(?=\d*$)", "R", name)
    yield re.sub(r"(?<![A-Za-z])l(?=[_\-. ])", "r", name)
    yield re.sub(r"(?<=[_\-. ])l(?=\d*$)", "r", name)


def _flip_order(count: int, pairs: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    order = list(range(count))
    for left, right in pairs:
        order[left], order[right] = right, left
    return tuple(order)


def _index_pairs(values: Iterable[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, second in values)


def _check_indices(kind: str, index_pairs: tuple[tuple[int, int], ...], names: tuple[str, ...]) -> None:
    for first, second in index_pairs:
        if not (0 <= first < len(names) and 0 <= second < len(names)) or first == second:
            got = " and ".join(names[place] if 0 <= place < len(names) else str(place) for place in (first, second))
            raise ValueError(f"Each {kind} joins two of the {len(names)} keypoints, got {got}.")


def _check_pairs(names: tuple[str, ...], flip_order: tuple[int, ...]) -> None:
    """Raises ValueError where flipping twice would not give the same keypoints back."""
    for place, other in enumerate(flip_order):
        if flip_order[other] != place:
            raise ValueError(
                f"Each keypoint is in one left/right pair, but {names[other]!r:.80} is in pairs with two others."
            )
