"""Group peaks into animals by DeepLabCut 3's rules, from the links between them (Lauer et al. 2022, and its program)."""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Array = npt.NDArray[np.float32]
MIN_SCORE = 0.1  # of a peak that is linked
MIN_LINKS = 2  # of an animal
MAX_OVERLAP = 0.8  # of two animals: share of the keypoints of either in the boxes of both


@dataclass(frozen=True)
class Joint:
    """A peak: its number, keypoint, place in the image and score."""

    number: int
    keypoint: int
    xy: tuple[float, float]
    score: float


@dataclass(frozen=True, eq=False)
class Link:
    """Two joints that belong together, with their affinity."""

    first: Joint
    second: Joint
    affinity: float

    @property
    def numbers(self) -> tuple[int, int]:
        """Of its joints."""
        return self.first.number, self.second.number


@dataclass(eq=False)
class Animal:
    """Joints by keypoint, and the links that brought them together."""

    joints: dict[int, Joint] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    links: list[Link] = field(default_factory=list)
    affinity: float = 0.0  # sum

    def add(self, link: Link) -> bool:
        """Take a link, and those of its joints whose keypoints are still missing. False where it brings none."""
        is_inside = all(number in self.numbers for number in link.numbers)
        is_taken = all(joint.keypoint in self.joints for joint in (link.first, link.second))
        if is_inside or not is_taken:
            self.affinity += link.affinity
            self.links.append(link)
        if is_inside or is_taken:
            return False
        self.add_joint(link.first)
        self.add_joint(link.second)
        return True

    def add_joint(self, joint: Joint) -> None:
        """Take a joint unless its keypoint is there."""
        if joint.keypoint not in self.joints:
            self.joints[joint.keypoint] = joint
            self.numbers.add(joint.number)

    def shares_keypoints(self, other: "Animal") -> bool:
        """Whether both have a joint for some keypoint."""
        return not self.joints.keys().isdisjoint(other.joints)


def best_links(starts: Sequence[Joint], ends: Sequence[Joint], affinity: Array, min_affinity: float) -> list[Link]:
    """The links of one edge: the assignment of the largest total affinity (P, Q), without those that are too weak."""
    rows, columns = linear_sum_assignment(affinity, maximize=True)
    return [
        Link(starts[int(row)], ends[int(column)], float(affinity[row, column]))
        for row, column in zip(rows, columns, strict=True)
        if affinity[row, column] >= min_affinity
    ]


def candidates(joints: Sequence[Joint], count: int) -> list[Joint]:
    """The joints of a keypoint that may be linked: the `count` highest scores, without those that are too low."""
    ordered = sorted(joints, key=lambda joint: joint.score, reverse=True)[:count]
    return [joint for joint in ordered if joint.score >= MIN_SCORE]


def assemble(links: Sequence[Link], keypoints: int, max_animals: int) -> list[Animal]:
    """The animals that links make, at most `max_animals`: complete groups first, then what grows from the best links."""
    animals = _Assembly(links, keypoints, max_animals).animals
    animals = [animal for animal in animals if animal.joints and not 0 < len(animal.links) < MIN_LINKS]
    kept = _without_overlaps(animals)
    return (
        sorted(kept, key=lambda animal: len(animal.joints), reverse=True)[:max_animals]
        if len(kept) > max_animals
        else kept
    )


class _Assembly:
    """The animals of one image while they grow."""

    def __init__(self, links: Sequence[Link], keypoints: int, max_animals: int) -> None:
        self.links, self.keypoints = links, keypoints
        self.animals: list[Animal] = []
        self.assembled: set[int] = set()
        self.lookup: dict[int, dict[int, Link]] = defaultdict(dict)
        for link in links:
            first, second = link.numbers
            self.lookup[first][second] = self.lookup[second][first] = link
        self._take_complete_groups()
        if len(self.animals) == max_animals:
            return
        self._grow_from_links()
        if len(self.animals) > max_animals:
            self._fuse()
        for animal in self.animals:
            if len(animal.joints) != keypoints:
                self._grow(animal)
                self.assembled |= animal.numbers

    def _take_complete_groups(self) -> None:
        """Connected joints that are as many as an animal has keypoints are one animal."""
        for group in _connected(self.links):
            if len(group) != self.keypoints:
                continue
            animal = Animal()
            for link in self.links:
                first, second = link.numbers
                if first in group and first < second and animal.add(link):
                    self._forget(link)
            self._finish(animal)

    def _grow_from_links(self) -> None:
        for link in sorted(self.links, key=lambda link: link.affinity, reverse=True):
            if any(number in self.assembled for number in link.numbers):
                continue
            animal = Animal()
            animal.add(link)
            self._grow(animal)
            for used in animal.links:
                self._forget(used)
            self._finish(animal)

    def _grow(self, animal: Animal) -> None:
        """Take the best link from the animal to a joint that is free, again and again."""
        waiting: list[tuple[float, int, Link]] = []
        seen: set[tuple[int, int]] = set()
        counter = itertools.count()

        def reach(number: int) -> None:
            for other, link in self.lookup[number].items():
                if other not in animal.numbers and link.numbers not in seen:
                    heapq.heappush(waiting, (-link.affinity, next(counter), link))
                    seen.add(link.numbers)

        for number in animal.numbers:
            reach(number)
        while waiting and len(animal.joints) < self.keypoints:
            link = heapq.heappop(waiting)[2]
            first, second = link.numbers
            if first not in animal.numbers and second not in animal.numbers:
                continue
            fresh = second if first in animal.numbers else first
            if fresh not in self.assembled:
                animal.add(link)
                reach(fresh)

    def _fuse(self) -> None:
        """Too many animals: links that are left join two that share no keypoint."""
        owners = {number: animal for animal in self._incomplete() for number in animal.numbers}
        used = {id(link) for animal in self.animals for link in animal.links}
        for link in self.links:
            if id(link) in used or not all(number in owners for number in link.numbers):
                continue
            first, second = (owners[number] for number in link.numbers)
            if first.shares_keypoints(second):
                continue
            fused = Animal()
            for each in first.links + second.links:
                fused.add(each)
            first.__dict__.update(fused.__dict__)
            self.animals.remove(second)
            for number in second.numbers:
                owners[number] = first

    def _incomplete(self) -> Iterable[Animal]:
        return (animal for animal in self.animals if len(animal.joints) != self.keypoints)

    def _forget(self, link: Link) -> None:
        first, second = link.numbers
        self.lookup[first].pop(second, None)
        self.lookup[second].pop(first, None)

    def _finish(self, animal: Animal) -> None:
        self.assembled |= animal.numbers
        self.animals.append(animal)


def _connected(links: Sequence[Link]) -> list[set[int]]:
    """Groups of joints that links connect, in the order in which the links name them first."""
    neighbors: dict[int, list[int]] = defaultdict(list)
    for link in links:
        first, second = link.numbers
        neighbors[first].append(second)
        neighbors[second].append(first)
    groups: list[set[int]] = []
    seen: set[int] = set()
    for start in neighbors:
        if start in seen:
            continue
        group, waiting = {start}, [start]
        while waiting:
            for other in neighbors[waiting.pop()]:
                if other not in group:
                    group.add(other)
                    waiting.append(other)
        seen |= group
        groups.append(group)
    return groups


def _without_overlaps(animals: Sequence[Animal]) -> list[Animal]:
    """Of animals that lie over each other, the one of the larger summed affinity, in its order."""
    waiting, kept = list(animals), []
    while waiting:
        best = max(waiting, key=lambda animal: animal.affinity)
        kept.append(best)
        waiting = [animal for animal in waiting if animal is not best and _overlap(best, animal) < MAX_OVERLAP]
    return kept


def _overlap(first: Animal, second: Animal) -> float:
    """The smaller share of an animal's keypoints in the intersection of both boxes."""
    points = [np.array([joint.xy for joint in animal.joints.values()]) for animal in (first, second)]
    low = np.maximum(points[0].min(axis=0), points[1].min(axis=0))
    high = np.minimum(points[0].max(axis=0), points[1].max(axis=0))
    if (high < low).any():
        return 0.0
    return float(min(((each >= low) & (each <= high)).all(axis=1).mean() for each in points))
