"""Heatmaps of all animals' keypoints, and fields along their limbs that say which belong together (Lauer et al. 2022)."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcpose.codecs.affine import cells_from_pixels, pixels_from_cells
from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.limb_lengths import DistanceStatistics, max_distances, no_statistics, split_implausible, updated
from dlcpose.codecs.local_peaks import duplicate_candidates, find_local_peaks
from dlcpose.codecs.offsets import draw_offsets
from dlcpose.codecs.paf import draw_pafs, score_edges
from dlcpose.codecs.paf_graph import Edges
from dlcpose.codecs.paf_grouping import NONE, group_keypoints
from dlcpose.codecs.peaks import refine_peaks, values_at
from dlcpose.heads.base import Head
from dlcpose.heads.paf_graph import all_edges
from dlcpose.layers.paf_stages import PafStages, StageOutput
from dlcpose.losses.fields import paf_loss
from dlcpose.losses.offsets import huber
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]
CANDIDATES = 2  # of each keypoint, for each animal that may be found: what is no keypoint can look like one
SAME = 0.5  # cells: candidates of a keypoint nearer than this are one


class StageMaps(NamedTuple):
    """What a stage before the last finds, and is asked to find."""

    heatmaps: Tensor  # (B, K, h', w') in [0, 1]
    fields: Tensor  # (B, L, 2, h', w')


class PartAffinityMaps(NamedTuple):
    """What a part affinity head finds, and is asked to find."""

    heatmaps: Tensor  # (B, K, h, w) in [0, 1]
    offsets: Tensor | None  # (B, K, 2, h, w) cells from each cell to the keypoint, NaN where nothing is asked
    fields: Tensor  # (B, L, 2, h, w) unit vectors along the limbs, 0 elsewhere
    former: tuple[StageMaps, ...]  # of the stages before, which may be coarser


class PartAffinityHead(Head):
    """Heatmaps, location refinement and affinity fields, refined in stages where asked, assembled into animals.

    limbs: from the skeleton to the pairs of keypoints that fields are drawn between. deconvolutions, channels, stages,
    stage_channels, last_deconvolutions, last_channels: as of StagedLayers. sigma: width of a keypoint's Gaussian,
    field_width: half the width of a limb, in cells of each stage. offsets: predict the way to the keypoint instead of
    interpolating the peak. offset_radius: how far from a keypoint it is asked, in cells. offset_weight, field_weight,
    stage_weight: of those losses; the last of all former stages together. heatmap_loss: of (found, wanted) maps.
    max_animals: most that are found in an image. threshold: least value of a peak. min_affinity: of a link.
    min_keypoints: of an animal, where the skeleton has as many. samples: places along a limb where its field is read.
    reach: standard deviations beyond the mean of the training poses' distances where two keypoints cannot be one
    animal's; null leaves distances alone.
    """

    multi_animal: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        stride: float,
        skeleton: Skeleton,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        edges: Callable[[Skeleton], Edges] = all_edges,
        deconvolutions: int = 1,
        channels: int = 256,
        stages: int = 0,
        stage_channels: int = 128,
        last_deconvolutions: int = 0,
        last_channels: int = 1152,
        sigma: float = 1.0,
        offsets: bool = True,
        offset_radius: float = 3.0,
        offset_weight: float = 0.1,
        field_width: float = 1.5,
        field_weight: float = 1.0,
        stage_weight: float = 1.0,
        max_animals: int = 30,
        threshold: float = 0.1,
        min_affinity: float = 0.2,
        min_keypoints: int = 2,
        samples: int = 10,
        reach: float | None = 4.0,
    ) -> None:
        super().__init__()
        if not callable(edges):
            raise ValueError(
                f"expected limbs that an option of head/limbs makes, got {edges!r}; write head/edges={edges}"
            )
        if min(max_animals, min_keypoints, samples) < 1:
            raise ValueError("expected max_animals, min_keypoints and samples of 1 or more")
        keypoints = len(skeleton)
        self.edges: Edges = edges(skeleton)
        self.heatmap_loss, self.sigma, self.field_width = heatmap_loss, sigma, field_width
        self.offset_radius, self.offset_weight = offset_radius, offset_weight
        self.field_weight, self.stage_weight = field_weight, stage_weight
        self.max_animals, self.threshold = max_animals, threshold
        self.min_affinity, self.min_keypoints = min_affinity, min(min_keypoints, keypoints)
        self.samples, self.reach = samples, reach
        self.layers = PafStages(
            in_channels,
            keypoints,
            2 * keypoints if offsets else 0,
            2 * len(self.edges),
            deconvolutions=deconvolutions,
            channels=channels,
            stages=stages,
            stage_channels=stage_channels,
            last_deconvolutions=last_deconvolutions,
            last_channels=last_channels,
        )
        self.former_stages = stages + (1 if last_deconvolutions else 0)
        self.stage_stride = stride / 2**deconvolutions
        self.stride = self.stage_stride / 2**last_deconvolutions
        self.ends: Tensor  # (L, 2) of the limbs
        self._ends = np.array(self.edges, np.int64).reshape(-1, 2)  # the same, for what is done in numpy
        self.register_buffer("ends", torch.tensor(self.edges, dtype=torch.long).view(-1, 2), persistent=False)
        self.kept: Tensor
        self.register_buffer("kept", torch.ones(len(self.edges), dtype=torch.bool))
        for name, value in no_statistics(keypoints)._asdict().items():
            self.register_buffer(f"distance_{name}", value)

    def forward(self, features: Tensor) -> PartAffinityMaps:
        """Maps of features (B, C, h, w)."""
        found, offsets, former = self.layers(features)
        last = _squeezed(found)
        displacements = None if offsets is None else offsets.float().unflatten(1, (-1, 2))
        return PartAffinityMaps(last.heatmaps, displacements, last.fields, tuple(_squeezed(stage) for stage in former))

    def encode(self, batch: PoseBatch) -> PartAffinityMaps:
        """Gaussians at the keypoints, ways to them near by, and unit vectors along the limbs.

        While training it also takes down how far apart an animal's keypoints are: what `decode` holds to be plausible.
        """
        if self.training:
            self._take_down(batch.keypoints_in_crop)
        points_in_map, size = _on_map(batch, self.stride)
        last = self._draw(points_in_map, size)
        has_offsets = self.layers.first_offsets is not None
        offsets = draw_offsets(points_in_map, self.offset_radius, size) if has_offsets else None
        former = last
        if self.former_stages and self.stage_stride != self.stride:
            former = self._draw(*_on_map(batch, self.stage_stride))
        return PartAffinityMaps(last.heatmaps, offsets, last.fields, (former,) * self.former_stages)

    def loss(self, maps: PartAffinityMaps, wanted: PartAffinityMaps) -> dict[str, Tensor]:
        """The losses of heatmaps and fields, of the offsets where there are any, and of the former stages' mean."""
        losses = {
            "heatmap": self.heatmap_loss(maps.heatmaps, wanted.heatmaps),
            "field": self.field_weight * paf_loss(maps.fields, wanted.fields),
        }
        if maps.offsets is not None and wanted.offsets is not None:
            losses["offset"] = self.offset_weight * huber(maps.offsets, wanted.offsets)
        if maps.former:
            each = [
                self.heatmap_loss(found.heatmaps, asked.heatmaps)
                + self.field_weight * paf_loss(found.fields, asked.fields)
                for found, asked in zip(maps.former, wanted.former, strict=True)
            ]
            losses["stages"] = self.stage_weight * torch.stack(each).mean()
        return losses

    def decode(self, maps: PartAffinityMaps) -> list[PoseInstances]:
        """The animals that the peaks of each image make up along the fields."""
        points_in_map, scores = self._candidates(maps)  # (B, K, P, 2), (B, K, P)
        farthest = max_distances(self._statistics(), self.reach)  # (K, K) px
        kept = self.kept.cpu().numpy()
        affinities = self._affinities(maps.fields.detach(), points_in_map, farthest, kept)  # (B, kept limbs, P, P)
        edges = list(itertools.compress(self.edges, kept))
        found = zip(affinities, pixels_from_cells(points_in_map, self.stride), np.minimum(scores, 1), strict=True)
        return [self._animals(*each, edges, farthest) for each in found]

    def gt_affinities(self, maps: PartAffinityMaps, batch: PoseBatch) -> tuple[list[Array], list[Array]]:
        """What the fields say of labelled animals: for each limb the affinities within animals and between two.

        With those of many frames `codecs.limbs.keep_limbs` chooses the limbs that tell animals apart, for `keep`.
        """
        points_in_map = cells_from_pixels(batch.keypoints_in_crop, self.stride).transpose(1, 2).cpu().numpy()
        values = score_edges(maps.fields.detach(), points_in_map, self._ends, samples=self.samples)
        own = np.eye(points_in_map.shape[2], dtype=bool)
        known = ~np.isnan(points_in_map).any(axis=-1)  # (B, K, N)
        within, between = [], []
        for edge, (first, second) in enumerate(self.edges):
            both = known[:, first, :, None] & known[:, second, None, :]  # (B, N, N)
            within.append(values[:, edge][both & own])
            between.append(values[:, edge][both & ~own])
        return within, between

    def keep(self, edges: Sequence[bool] | Array) -> None:
        """Assemble animals by these limbs alone: (L,). They are saved with the weights. Raises ValueError if L differs."""
        kept = torch.as_tensor(np.asarray(edges, bool))
        if kept.shape != self.kept.shape:
            raise ValueError(f"expected which of {len(self.edges)} limbs to keep, got {tuple(kept.shape)}")
        self.kept.copy_(kept)

    def _draw(self, points_in_map: Tensor, size: tuple[int, int]) -> StageMaps:
        return StageMaps(
            draw_gaussians(points_in_map, self.sigma, size),
            draw_pafs(points_in_map, self.ends, self.field_width, size),
        )

    def _statistics(self) -> DistanceStatistics:
        return DistanceStatistics(*(getattr(self, f"distance_{name}") for name in DistanceStatistics._fields))

    def _take_down(self, keypoints_in_crop: Tensor) -> None:
        for name, value in updated(self._statistics(), keypoints_in_crop)._asdict().items():
            getattr(self, f"distance_{name}").copy_(value)

    def _candidates(self, maps: PartAffinityMaps) -> tuple[Array, Array]:
        """Points (B, K, P, 2) in cells, NaN where there are no more, and their scores (B, K, P), 0 there."""
        heatmaps, most = maps.heatmaps.detach().contiguous(), CANDIDATES * self.max_animals
        if maps.offsets is None:
            cells, scores = find_local_peaks(heatmaps, self.threshold, most)
            points_in_map = refine_peaks(heatmaps, cells)
        else:
            offsets = maps.offsets.detach().contiguous()
            sure = math.exp(-0.25 / self.sigma**2) - 1e-3  # half a cell off in x and y
            cells, scores = find_local_peaks(heatmaps, self.threshold, most, offsets=offsets, sure=sure)
            points_in_map = cells + values_at(offsets, cells).nan_to_num(0.0)
        points, sure_of = points_in_map.cpu().numpy(), scores.cpu().numpy()
        points[sure_of <= 0] = np.nan
        doubled = duplicate_candidates(points, sure_of, SAME)
        points[doubled], sure_of[doubled] = np.nan, 0.0
        return points, sure_of

    def _affinities(self, fields: Tensor, points_in_map: Array, farthest_in_crop: Array, kept: Array) -> Array:
        """Of every pair of candidates of each kept limb: (B, kept limbs, P, P)."""
        farthest = farthest_in_crop[self._ends[:, 0], self._ends[:, 1]] / np.float32(self.stride)
        farthest[~kept] = -1.0
        affinities = score_edges(fields, points_in_map, self._ends, samples=self.samples, farthest=farthest)
        return affinities if kept.all() else affinities[:, kept]

    def _animals(
        self,
        affinity: Array,
        candidates: Array,
        candidate_scores: Array,
        edges: Sequence[tuple[int, int]],
        limits: Array,
    ) -> PoseInstances:
        """One image's animals, the surest first: of affinities (L, P, P), candidates (K, P, 2) px and scores (K, P)."""
        members = group_keypoints(affinity, candidate_scores > 0, edges, self.min_affinity)  # (M, K)
        keypoints = np.arange(members.shape[1])
        poses = np.where((members != NONE)[..., None], candidates[keypoints, members], np.nan)
        parts = split_implausible(poses, limits)
        members = np.concatenate([np.where(parts == part, members, NONE) for part in range(parts.max(initial=0) + 1)])
        members = members[(members != NONE).sum(axis=1) >= self.min_keypoints]
        found = members != NONE
        keypoint_scores = np.where(found, candidate_scores[keypoints, members], 0.0)
        # Over all keypoints, also those not found: a fragment must not outrank a whole animal.
        scores = keypoint_scores.mean(axis=1)
        surest = np.argsort(-scores, kind="stable")[: self.max_animals]
        poses = np.where(found[..., None], candidates[keypoints, members], np.nan)
        at = self.kept.device
        arrays = (poses[surest], keypoint_scores[surest], scores[surest])
        return PoseInstances.from_keypoints(*(torch.from_numpy(array.astype(np.float32)).to(at) for array in arrays))


def _squeezed(stage: StageOutput) -> StageMaps:
    batch, _, height, width = stage.fields.shape
    return StageMaps(stage.heatmaps.float().sigmoid(), stage.fields.float().view(batch, -1, 2, height, width))


def _on_map(batch: PoseBatch, stride: float) -> tuple[Tensor, tuple[int, int]]:
    """Keypoints (B, N, K, 2) in cells of a map, and its (h, w)."""
    size = (round(batch.images.shape[-2] / stride), round(batch.images.shape[-1] / stride))
    return cells_from_pixels(batch.keypoints_in_crop, stride), size
