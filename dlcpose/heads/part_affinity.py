"""Bottom-up head: heatmaps, location refinement and part affinity fields, grouped into animals (Lauer et al. 2022)."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcpose.codecs.affine import cells_from_pixels, length_in_cells, size_in_cells
from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.limb_lengths import (
    DistanceStatistics,
    empty_statistics,
    max_distances,
    typical_distances,
    update_statistics,
)
from dlcpose.codecs.offsets import MIN_RADIUS, as_vectors, draw_offsets
from dlcpose.codecs.paf import MIN_HALF_WIDTH, draw_pafs, score_edges
from dlcpose.codecs.paf_assembly import CANDIDATES, LearnedOfAnimals, PafAssembly, PartAffinity, graph_peaks
from dlcpose.codecs.paf_graph import Edges
from dlcpose.heads.base import Head, PafGraph
from dlcpose.heads.paf_graph import near_edges
from dlcpose.layers.bounded_sigmoid import bounded_sigmoid
from dlcpose.layers.paf_stages import PafStages, StageOutput
from dlcpose.losses.fields import paf_loss
from dlcpose.losses.offsets import huber
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]


class StageMaps(NamedTuple):
    """Predictions and targets of a stage before the last."""

    heatmaps: Tensor  # (B, K, h', w') in [0, 1]
    fields: Tensor  # (B, L, 2, h', w')


class PartAffinityMaps(NamedTuple):
    """Predictions and targets of a part affinity head."""

    heatmaps: Tensor  # (B, K, h, w) in [0, 1]
    offsets: Tensor | None  # (B, K, 2, h, w) keypoint − cell, in cells; NaN where unsupervised
    fields: Tensor  # (B, L, 2, h, w) unit vectors along the edges, 0 elsewhere
    intermediate: tuple[StageMaps, ...]  # of the stages before the last, which may be coarser


class PartAffinityHead(Head):
    """Heatmaps, location refinement and affinity fields, optionally refined in stages, and their grouping into animals.

    edges: from the skeleton to the pairs of keypoints that fields are drawn between (the PAF graph). deconvolutions,
    channels, stages, stage_channels, last_deconvolutions, last_channels: as in PafStages. sigma: of a keypoint's Gaussian,
    input pixels, at least a cell. field_width: distance from an edge up to which its field is drawn, input pixels, at least
    `codecs.paf.MIN_HALF_WIDTH` cells. offsets: predict offsets to the keypoint instead of refining the peak. offset_radius:
    distance from a keypoint within which offsets are supervised, input pixels, at least `codecs.offsets.MIN_RADIUS` cells.
    offset_weight, field_weight, stage_weight: of those losses; the last of all stages before the last together.
    heatmap_loss: of (pred, target) maps, NaN where unsupervised. max_animals: per image. threshold: minimum score of a
    peak. min_affinity: of a link. min_keypoints: of an animal, or all where the skeleton has fewer. samples: places along
    an edge where its field is sampled. max_distance_std: standard deviations above the mean distance of two keypoints in
    the training poses from which on they cannot belong to one animal; None for no limit. join_fragments: of one animal
    that no edge connects, where a keypoint between them is missing, by the distances of the training poses.
    """

    multi_animal: ClassVar[bool] = True
    max_animals: int

    def __init__(
        self,
        in_channels: int,
        stride: float,
        skeleton: Skeleton,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        edges: Callable[[Skeleton], Edges] = near_edges,
        deconvolutions: int = 1,
        channels: int = 256,
        stages: int = 0,
        stage_channels: int = 128,
        last_deconvolutions: int = 0,
        last_channels: int = 1152,
        sigma: float = 4.0,
        offsets: bool = True,
        offset_radius: float = 6.0,
        offset_weight: float = 0.1,
        field_width: float = 6.0,
        field_weight: float = 1.0,
        stage_weight: float = 1.0,
        max_animals: int = 30,
        threshold: float = 0.1,
        min_affinity: float = 0.2,
        min_keypoints: int = 2,
        samples: int = 10,
        max_distance_std: float | None = 4.0,
        join_fragments: bool = True,
    ) -> None:
        super().__init__()
        if not callable(edges):
            raise ValueError(f"expected edges as an option of head/edges, got {edges!r}; write head/edges={edges}")
        if min(max_animals, min_keypoints, samples) < 1:
            raise ValueError("expected max_animals, min_keypoints and samples of 1 or more")
        keypoints = len(skeleton)
        self.edges: Edges = edges(skeleton)
        self.heatmap_loss, self.offset_weight = heatmap_loss, offset_weight
        self.field_weight, self.stage_weight = field_weight, stage_weight
        self.max_animals, self.threshold = max_animals, threshold
        self.min_affinity, self.min_keypoints = min_affinity, min(min_keypoints, keypoints)
        self.samples, self.max_distance_std, self.join_fragments = samples, max_distance_std, join_fragments
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
        self.intermediate_stages = stages + (1 if last_deconvolutions else 0)
        self.stage_stride = stride / 2**deconvolutions
        self.stride = self.stage_stride / 2**last_deconvolutions
        self.widths_in_map = {  # of Gaussians and of fields, in cells of the maps of each stride
            each: (length_in_cells(sigma, each), length_in_cells(field_width, each, min_cells=MIN_HALF_WIDTH))
            for each in (self.stride, self.stage_stride)
        }
        self.offset_radius_in_map = length_in_cells(offset_radius, self.stride, min_cells=MIN_RADIUS)
        self._register_buffers(keypoints)

    def _register_buffers(self, keypoints: int) -> None:
        """The edges as tensors, and what is learned from the training poses besides weights."""
        self.ends: Tensor  # (L, 2) of the edges
        self._ends = np.array(self.edges, np.int64).reshape(-1, 2)  # the same, in numpy
        self.register_buffer("ends", torch.tensor(self.edges, dtype=torch.long).view(-1, 2), persistent=False)
        self.kept: Tensor  # (L,) bool, the edges that animals are grouped by
        self.register_buffer("kept", torch.ones(len(self.edges), dtype=torch.bool))
        for name, value in empty_statistics(keypoints)._asdict().items():
            self.register_buffer(f"distance_{name}", value)

    @property
    def paf_graph(self) -> PafGraph:
        """The head itself."""
        return self

    def forward(self, features: Tensor) -> PartAffinityMaps:
        """Predicted maps from features (B, C, h, w)."""
        output, offsets, intermediate = self.layers(features)
        last = _activated(output)
        offsets = None if offsets is None else as_vectors(offsets.float())
        return PartAffinityMaps(last.heatmaps, offsets, last.fields, tuple(_activated(stage) for stage in intermediate))

    def encode(self, batch: PoseBatch) -> PartAffinityMaps:
        """Gaussians at the keypoints, offsets to them near by, and unit vectors along the edges.

        In training mode it also updates the statistics of distances within animals, which `decode` limits them by.
        """
        if self.training:
            self._update_statistics(batch.keypoints_in_crop)
        last = stage = self._draw(batch, self.stride)
        offsets = None
        if self.layers.first_offsets is not None:
            points_in_map = cells_from_pixels(batch.keypoints_in_crop, self.stride)  # (B, N, K, 2)
            offsets = draw_offsets(points_in_map, self.offset_radius_in_map, self.map_size(batch))
        if self.intermediate_stages and self.stage_stride != self.stride:
            stage = self._draw(batch, self.stage_stride)
        return PartAffinityMaps(last.heatmaps, offsets, last.fields, (stage,) * self.intermediate_stages)

    def loss(self, maps: PartAffinityMaps, targets: PartAffinityMaps) -> dict[str, Tensor]:
        """The losses of heatmaps and fields, of offsets where there are any, and the mean loss of the intermediate stages."""
        losses = {
            "heatmap": self.heatmap_loss(maps.heatmaps, targets.heatmaps),
            "field": self.field_weight * paf_loss(maps.fields, targets.fields),
        }
        if maps.offsets is not None and targets.offsets is not None:
            losses["offset"] = self.offset_weight * huber(maps.offsets, targets.offsets)
        if maps.intermediate:
            each = [
                self.heatmap_loss(pred.heatmaps, target.heatmaps)
                + self.field_weight * paf_loss(pred.fields, target.fields)
                for pred, target in zip(maps.intermediate, targets.intermediate, strict=True)
            ]
            losses["stages"] = self.stage_weight * torch.stack(each).mean()
        return losses

    def decode(self, maps: PartAffinityMaps) -> list[PoseInstances]:
        """The animals that each image's peaks are grouped into along the fields."""
        heatmaps, fields = maps.heatmaps.detach().contiguous(), maps.fields.detach()
        offsets = None if maps.offsets is None else maps.offsets.detach().contiguous()
        return self._assembly().assemble(heatmaps, offsets, fields, self._learned())

    def graph_outputs(self, maps: PartAffinityMaps) -> dict[str, Tensor]:
        """The maps, of which `graph_step` assembles animals, and their peaks (B, K, P, 3) for programs that do so."""
        offsets = {} if maps.offsets is None else {"offsets": maps.offsets}
        peaks = graph_peaks(maps.heatmaps, maps.offsets, CANDIDATES * self.max_animals, self.stride)
        return {"heatmaps": maps.heatmaps, "fields": maps.fields, **offsets, "peaks": peaks}

    def graph_step(self) -> PartAffinity:
        """The grouping, which depends on the image and is done outside a graph."""
        has_offsets = self.layers.first_offsets is not None
        return PartAffinity.of(self._assembly(), self._learned(), has_offsets=has_offsets)

    def _assembly(self) -> PafAssembly:
        return PafAssembly(
            edges=tuple(self.edges),
            stride=self.stride,
            sigma_in_map=self.widths_in_map[self.stride][0],
            max_animals=self.max_animals,
            threshold=self.threshold,
            min_affinity=self.min_affinity,
            min_keypoints=self.min_keypoints,
            samples=self.samples,
        )

    def _learned(self) -> LearnedOfAnimals:
        typical = typical_distances(self._statistics())
        limits = max_distances(typical, self.max_distance_std)
        return LearnedOfAnimals(self.kept.cpu().numpy(), limits, typical if self.join_fragments else None)

    def gt_affinities(self, maps: PartAffinityMaps, batch: PoseBatch) -> tuple[list[Array], list[Array]]:
        """The fields' affinities of labeled animals: per edge, those within animals and those between two.

        From those of many frames `codecs.paf_graph.select_edges` chooses the edges to `keep`.
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
        """Group animals by these edges alone: (L,) bool, saved with the weights. Raises ValueError if L differs."""
        kept = torch.as_tensor(np.asarray(edges, bool))
        if kept.shape != self.kept.shape:
            raise ValueError(f"expected which of {len(self.edges)} edges to keep, got {tuple(kept.shape)}")
        self.kept.copy_(kept)

    def _draw(self, batch: PoseBatch, stride: float) -> StageMaps:
        points_in_map = cells_from_pixels(batch.keypoints_in_crop, stride)  # (B, N, K, 2)
        size = size_in_cells((batch.images.shape[-2], batch.images.shape[-1]), stride)
        sigma, half_width = self.widths_in_map[stride]
        return StageMaps(
            draw_gaussians(points_in_map, sigma, size), draw_pafs(points_in_map, self.ends, half_width, size)
        )

    def _statistics(self) -> DistanceStatistics:
        return DistanceStatistics(*(getattr(self, f"distance_{name}") for name in DistanceStatistics._fields))

    def _update_statistics(self, keypoints_in_crop: Tensor) -> None:
        for name, value in update_statistics(self._statistics(), keypoints_in_crop)._asdict().items():
            getattr(self, f"distance_{name}").copy_(value)


def _activated(stage: StageOutput) -> StageMaps:
    batch, _, height, width = stage.fields.shape
    return StageMaps(bounded_sigmoid(stage.heatmaps), stage.fields.float().view(batch, -1, 2, height, width))
