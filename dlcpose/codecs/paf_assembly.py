"""Animals of heatmaps and part affinity fields: candidates, their affinities along the edges, and the grouping."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.affine import pixels_from_cells
from dlcpose.codecs.graph_steps import GraphStep, Outputs, graph_step
from dlcpose.codecs.limb_lengths import TypicalDistances, split_implausible
from dlcpose.codecs.paf import score_edges
from dlcpose.codecs.paf_fragments import join_fragments
from dlcpose.codecs.paf_grouping import NONE, group_keypoints
from dlcpose.codecs.peaks import find_duplicates, find_local_peaks, highest_values, refine_peaks, values_at
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]
CANDIDATES = 2  # of each keypoint, per animal that may be predicted: background can look like a keypoint
MIN_DISTANCE = 0.5  # cells: candidates of a keypoint nearer than this are duplicates


class LearnedOfAnimals(NamedTuple):
    """What a head has learned of animals from the training poses.

    kept: (L,) bool, the edges that animals are grouped by. max_distance: (K, K) input pixels, beyond which two keypoints are
    not of one animal. typical: distances by which fragments of an animal are joined, None to join none.
    """

    kept: Array
    max_distance: Array
    typical: TypicalDistances | None


@dataclass(frozen=True)
class PafAssembly:
    """How candidates are found and grouped into animals.

    edges: pairs of keypoints, one for each field. stride: input pixels per cell of the maps. sigma_in_map: of a keypoint's
    Gaussian, cells. max_animals: per image. threshold: minimum score of a peak. min_affinity: of a link. min_keypoints: of
    an animal. samples: places along an edge where its field is sampled.
    """

    edges: tuple[tuple[int, int], ...]
    stride: float
    sigma_in_map: float
    max_animals: int
    threshold: float
    min_affinity: float
    min_keypoints: int
    samples: int

    def assemble(
        self, heatmaps: Tensor, offsets: Tensor | None, fields: Tensor, learned: LearnedOfAnimals
    ) -> list[PoseInstances]:
        """The animals that each image's peaks are grouped into along the fields.

        heatmaps: (B, K, h, w). offsets: (B, K, 2, h, w) or None. fields: (B, L, 2, h, w).
        """
        points_in_map, scores = self._candidates(heatmaps, offsets)  # (B, K, P, 2), (B, K, P)
        affinities = self._affinities(fields, points_in_map, learned)  # (B, kept edges, P, P)
        edges = list(itertools.compress(self.edges, learned.kept))
        of_images = zip(affinities, pixels_from_cells(points_in_map, self.stride), np.minimum(scores, 1), strict=True)
        return [self._group(*each, edges, learned, fields.device) for each in of_images]

    def _candidates(self, heatmaps: Tensor, offsets: Tensor | None) -> tuple[Array, Array]:
        """Peaks (B, K, P, 2) in cells, NaN for padding, and their scores (B, K, P), 0 for padding."""
        max_peaks = CANDIDATES * self.max_animals
        if offsets is None:
            cells, scores = find_local_peaks(heatmaps, self.threshold, max_peaks)
            points_in_map = refine_peaks(heatmaps, cells)
        else:
            min_score = math.exp(-0.25 / self.sigma_in_map**2) - 1e-3  # half a cell off in x and y
            cells, scores = find_local_peaks(
                heatmaps, self.threshold, max_peaks, offsets=offsets, min_offset_score=min_score
            )
            points_in_map = cells + values_at(offsets, cells).nan_to_num(0.0)
        points, point_scores = points_in_map.cpu().numpy(), scores.cpu().numpy()
        points[point_scores <= 0] = np.nan
        duplicates = find_duplicates(points, point_scores, MIN_DISTANCE)
        points[duplicates], point_scores[duplicates] = np.nan, 0.0
        return points, point_scores

    def _affinities(self, fields: Tensor, points_in_map: Array, learned: LearnedOfAnimals) -> Array:
        """Of every pair of candidates of each kept edge: (B, kept edges, P, P)."""
        ends = np.array(self.edges, np.int64).reshape(-1, 2)
        max_lengths = learned.max_distance[ends[:, 0], ends[:, 1]] / np.float32(self.stride)
        max_lengths[~learned.kept] = -1.0
        affinities = score_edges(fields, points_in_map, ends, samples=self.samples, max_lengths=max_lengths)
        return affinities if learned.kept.all() else affinities[:, learned.kept]

    def _group(
        self,
        affinity: Array,
        candidates: Array,
        candidate_scores: Array,
        edges: Sequence[tuple[int, int]],
        learned: LearnedOfAnimals,
        device: torch.device,
    ) -> PoseInstances:
        """One image's animals, highest score first: from affinities (L, P, P), candidates (K, P, 2) px and scores (K, P)."""
        members = group_keypoints(affinity, candidate_scores > 0, edges, self.min_affinity)  # (M, K)
        keypoints = np.arange(members.shape[1])
        poses = np.where((members != NONE)[..., None], candidates[keypoints, members], np.nan)
        parts = split_implausible(poses, learned.max_distance)
        members = np.concatenate([np.where(parts == part, members, NONE) for part in range(parts.max(initial=0) + 1)])
        if learned.typical is not None:
            members = join_fragments(members, candidates, candidate_scores, edges, learned.typical)
        members = members[(members != NONE).sum(axis=1) >= self.min_keypoints]
        present = members != NONE
        keypoint_scores = np.where(present, candidate_scores[keypoints, members], 0.0)
        # Over all keypoints, missing ones too: a fragment must not outrank a whole animal.
        scores = keypoint_scores.mean(axis=1)
        order = np.argsort(-scores, kind="stable")[: self.max_animals]
        poses = np.where(present[..., None], candidates[keypoints, members], np.nan)
        arrays = (poses[order], keypoint_scores[order], scores[order])
        return PoseInstances.from_keypoints(
            *(torch.from_numpy(array.astype(np.float32)).to(device) for array in arrays)
        )


@graph_step("part_affinity")
@dataclass(frozen=True)
class PartAffinity(PafAssembly, GraphStep):
    """Animals assembled along the fields of a graph, which gives heatmaps, fields and, where has_offsets, offsets.

    kept: which of the edges. max_distances: (K, K) px, None for no limit. mean_distances, distance_deviations: (K, K) px,
    None where they are not known, by which fragments of an animal are joined; without them none are. The rest as in
    PafAssembly.
    """

    kept: tuple[bool, ...]
    max_distances: tuple[tuple[float | None, ...], ...]
    has_offsets: bool
    mean_distances: tuple[tuple[float | None, ...], ...] = ()
    distance_deviations: tuple[tuple[float | None, ...], ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("heatmaps", "fields", *(("offsets",) if self.has_offsets else ()))

    def check(self, skeleton: Skeleton) -> None:
        keypoints = range(len(skeleton))
        if not all(place in keypoints for edge in self.edges for place in edge) or len(self.kept) != len(self.edges):
            raise ValueError(f"expected edges between {len(skeleton)} keypoints, and which of them are kept")
        tables = [self.max_distances, self.mean_distances, self.distance_deviations]
        for table in tables if self.mean_distances or self.distance_deviations else tables[:1]:
            if [len(row) for row in table] != [len(skeleton)] * len(skeleton):
                raise ValueError(f"expected distances between {len(skeleton)} keypoints")

    def __call__(self, animals: Sequence[PoseInstances], outputs: Outputs) -> list[PoseInstances]:
        means, deviations = (_as_array(each, np.nan) for each in (self.mean_distances, self.distance_deviations))
        typical = TypicalDistances(means, deviations) if self.mean_distances else None
        return self.assemble(
            outputs["heatmaps"],
            outputs["offsets"] if self.has_offsets else None,
            outputs["fields"],
            LearnedOfAnimals(np.array(self.kept, bool), _as_array(self.max_distances, np.inf), typical),
        )

    @classmethod
    def of(cls, assembly: PafAssembly, learned: LearnedOfAnimals, *, has_offsets: bool) -> "PartAffinity":
        """The step of an assembly with what its head has learned of the data."""
        settings = {field.name: getattr(assembly, field.name) for field in dataclasses.fields(assembly)}
        return cls(
            **settings,
            kept=tuple(learned.kept.tolist()),
            max_distances=_as_rows(learned.max_distance),
            has_offsets=has_offsets,
            mean_distances=() if learned.typical is None else _as_rows(learned.typical.mean),
            distance_deviations=() if learned.typical is None else _as_rows(learned.typical.deviation),
        )


def _as_rows(table: Array) -> tuple[tuple[float | None, ...], ...]:
    """A table for a file, None for what is not finite."""
    return tuple(tuple(value if math.isfinite(value) else None for value in row) for row in table.tolist())


def _as_array(rows: tuple[tuple[float | None, ...], ...], instead: float) -> Array:
    """The table of `_as_rows`, with another value for None."""
    return np.array([[instead if value is None else value for value in row] for row in rows], np.float32)


def graph_peaks(heatmaps: Tensor, offsets: Tensor | None, max_peaks: int, stride: float) -> Tensor:
    """The highest local maxima of each map as x, y in input pixels and score: (B, K, h, w) -> (B, K, P, 3).

    P is max_peaks. Highest first; scores are 0 where a map has no more maxima. For programs that group a graph's peaks
    themselves; `PafAssembly` also separates keypoints in neighboring cells.
    """
    highest = functional.max_pool2d(heatmaps, 3, stride=1, padding=1)
    peaks = heatmaps.where(heatmaps == highest, 0.0).flatten(start_dim=2)
    scores, places = highest_values(peaks, max_peaks)  # (B, K, P)
    width = heatmaps.shape[-1]
    cells = torch.stack((places % width, places // width), dim=-1)
    points_in_map = refine_peaks(heatmaps, cells) if offsets is None else cells + values_at(offsets, cells)
    return torch.cat((pixels_from_cells(points_in_map, stride), scores[..., None]), dim=-1)
