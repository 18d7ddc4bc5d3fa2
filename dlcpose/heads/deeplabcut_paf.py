"""DeepLabCut 3's part affinity head: refinement stages, unpadded deconvolutions, and its rules of assembly."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from dlcpose.codecs.affine import cells_from_pixels, length_in_cells
from dlcpose.codecs.deeplabcut_assembly import Animal, Joint, assemble, best_links, candidates
from dlcpose.codecs.deeplabcut_paf import Peaks, affinities, find_peaks, smooth
from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.offsets import MIN_RADIUS, draw_offsets
from dlcpose.codecs.paf import MIN_HALF_WIDTH, draw_pafs
from dlcpose.codecs.paf_graph import Edges
from dlcpose.heads.base import Head
from dlcpose.heads.paf_graph import near_edges
from dlcpose.heads.part_affinity import PartAffinityMaps
from dlcpose.layers.bounded_sigmoid import bounded_sigmoid
from dlcpose.layers.unpadded_deconv import UnpaddedDeconvolutions
from dlcpose.losses.fields import paf_loss
from dlcpose.losses.offsets import huber
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton


class DeepLabCutPafHead(Head):
    """DeepLabCut 3's `DLCRNetHead`, whose snapshots it reads: the same maps, and the same animals from them.

    edges: the PAF graph. kernels, strides, channels: of the deconvolutions, as in UnpaddedDeconvolutions. stages: of
    refinement at twice the features' resolution, 0 for none. stage_channels: of the features that stages read.
    offset_std: input pixels that an output of 1 of the location refinement stands for. pixel_shift: of coordinates, input
    pixels; None is DeepLabCut's, whole pixels of half a cell. smoothing, smoothing_radius, window: of the heatmaps before
    peaks are sought, of the kernel, and of the neighborhood of a peak; cells. min_affinity: of a link.
    sigma, offset_radius, field_width: of the targets, input pixels. offset_weight, field_weight: of those losses.
    max_animals: per image, of which DeepLabCut's rules make use.
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
        kernels: Sequence[int] = (3,),
        strides: Sequence[int] = (2,),
        channels: Sequence[int] = (),
        stages: int = 5,
        stage_channels: int = 128,
        offset_std: float = 7.2801,
        pixel_shift: float | None = None,
        smoothing: float = 1.0,
        smoothing_radius: int = 5,
        window: int = 5,
        min_affinity: float = 0.05,
        sigma: float = 11.33,
        offset_radius: float = 17.0,
        offset_weight: float = 0.05,
        field_width: float = 20.0,
        field_weight: float = 0.1,
        max_animals: int = 30,
    ) -> None:
        super().__init__()
        self.edges: Edges = edges(skeleton)
        self.keypoints, self.feature_stride, self.stages = len(skeleton), stride, stages
        fields, offsets = 2 * len(self.edges), 2 * self.keypoints
        joined = stage_channels + self.keypoints + fields

        def layers(source: int, width: int) -> UnpaddedDeconvolutions:
            return UnpaddedDeconvolutions(source, width, kernels=kernels, strides=strides, channels=channels)

        refined = stages > 0
        self.heatmap_head = layers(joined if refined else in_channels, self.keypoints)
        self.locref_head = layers(offsets if refined else in_channels, offsets)
        self.paf_head = layers(joined if refined else in_channels, fields)
        widths = (self.keypoints, offsets, fields, stage_channels)
        self.convt1, self.convt2, self.convt3, self.convt4 = (_double(in_channels, width) for width in widths)
        self.hm_ref_layers = nn.ModuleList(nn.Conv2d(joined, self.keypoints, 3, padding=1) for _ in range(stages))
        self.paf_ref_layers = nn.ModuleList(nn.Conv2d(joined, fields, 3, padding=1) for _ in range(stages))
        self.stride = stride / self.heatmap_head.stride / (2 if refined else 1)
        self.cells_per_unit = offset_std / self.stride
        half_cell = math.floor(self.stride / 2)  # DeepLabCut counts whole pixels here
        self.pixel_shift = half_cell - (self.stride - 1) / 2 if pixel_shift is None else pixel_shift
        self.smoothing, self.smoothing_radius, self.window = smoothing, smoothing_radius, window
        self.min_affinity, self.max_animals = min_affinity, max_animals
        self.heatmap_loss, self.offset_weight, self.field_weight = heatmap_loss, offset_weight, field_weight
        self.sigma_in_map = length_in_cells(sigma, self.stride)
        self.offset_radius_in_map = length_in_cells(offset_radius, self.stride, min_cells=MIN_RADIUS)
        self.half_width_in_map = length_in_cells(field_width, self.stride, min_cells=MIN_HALF_WIDTH)
        self.ends: Tensor  # (L, 2)
        self.register_buffer("ends", torch.tensor(self.edges, dtype=torch.long).view(-1, 2), persistent=False)
        self.kept: Tensor  # (L,) bool, the edges that animals are grouped by
        self.register_buffer("kept", torch.ones(len(self.edges), dtype=torch.bool))

    def forward(self, features: Tensor) -> PartAffinityMaps:
        """Predicted maps from features (B, C, h, w)."""
        joined, for_offsets = (self._refined(features), self.convt2(features)) if self.stages else (features, features)
        heatmaps, fields = bounded_sigmoid(self.heatmap_head(joined)), self.paf_head(joined).float()
        offsets = self.cells_per_unit * self.locref_head(for_offsets).float()
        return PartAffinityMaps(heatmaps, offsets.unflatten(1, (-1, 2)), fields.unflatten(1, (-1, 2)), ())

    def _refined(self, features: Tensor) -> Tensor:
        heatmaps, fields, carried = self.convt1(features), self.convt3(features), self.convt4(features)
        joined = torch.cat((heatmaps, fields, carried), dim=1)
        for number, (to_heatmaps, to_fields) in enumerate(zip(self.hm_ref_layers, self.paf_ref_layers, strict=True)):
            refined = to_heatmaps(joined)
            heatmaps, fields = refined + heatmaps if number else refined, to_fields(joined)
            joined = torch.cat((heatmaps, fields, carried), dim=1)
        return joined

    def encode(self, batch: PoseBatch) -> PartAffinityMaps:
        """Gaussians at the keypoints, offsets to them near by, and unit vectors along the edges."""
        points_in_map = cells_from_pixels(batch.keypoints_in_crop - self.pixel_shift, self.stride)  # (B, N, K, 2)
        size = self.map_size(batch)
        return PartAffinityMaps(
            draw_gaussians(points_in_map, self.sigma_in_map, size),
            draw_offsets(points_in_map, self.offset_radius_in_map, size),
            draw_pafs(points_in_map, self.ends, self.half_width_in_map, size),
            (),
        )

    def loss(self, maps: PartAffinityMaps, targets: PartAffinityMaps) -> dict[str, Tensor]:
        """The losses of heatmaps, fields and offsets."""
        losses = {
            "heatmap": self.heatmap_loss(maps.heatmaps, targets.heatmaps),
            "field": self.field_weight * paf_loss(maps.fields, targets.fields),
        }
        if maps.offsets is not None and targets.offsets is not None:
            losses["offset"] = self.offset_weight * huber(maps.offsets, targets.offsets)
        return losses

    def decode(self, maps: PartAffinityMaps) -> list[PoseInstances]:
        """The animals that each image's peaks are assembled into, in DeepLabCut's order."""
        heatmaps = smooth(maps.heatmaps.detach(), sigma=self.smoothing, radius=self.smoothing_radius)
        peaks = find_peaks(heatmaps, window=self.window)
        joints = self._joints(peaks, maps)
        fields, kept = maps.fields.detach(), [edge for edge, is_kept in enumerate(self.kept.tolist()) if is_kept]
        return [self._instances(each, peaks, fields, image, kept) for image, each in enumerate(joints)]

    def map_size(self, batch: PoseBatch) -> tuple[int, int]:
        """(h, w) of the maps of a batch's images, which end some cells beyond them."""
        sides = [math.ceil(side / self.feature_stride) for side in batch.images.shape[-2:]]
        height, width = (self.heatmap_head.length(2 * side if self.stages else side) for side in sides)
        return height, width

    def _joints(self, peaks: Peaks, maps: PartAffinityMaps) -> list[dict[int, list[Joint]]]:
        """The joints of each image by keypoint; their numbers are places among the peaks."""
        joints: list[dict[int, list[Joint]]] = [defaultdict(list) for _ in maps.heatmaps]
        if not len(peaks.places) or maps.offsets is None:
            return joints
        image, keypoint, row, column = torch.from_numpy(peaks.places).to(maps.offsets.device).unbind(dim=1)
        offsets = maps.offsets.detach().nan_to_num(0.0)[image, keypoint, :, row, column] * self.stride  # (E, 2) px
        center = (self.stride - 1) / 2 + self.pixel_shift
        places = torch.stack((column, row), dim=1).float() * self.stride + center + offsets
        for number, (place, score, xy) in enumerate(
            zip(peaks.places.tolist(), peaks.scores.tolist(), places.tolist(), strict=True)
        ):
            joints[place[0]][place[1]].append(Joint(number, place[1], (xy[0], xy[1]), score))
        return joints

    def _instances(
        self, joints: dict[int, list[Joint]], peaks: Peaks, fields: Tensor, image: int, kept: Sequence[int]
    ) -> PoseInstances:
        """One image's animals."""
        if self.keypoints == 1:  # DeepLabCut fails here: each peak is an animal
            animals = [_animal([joint]) for joint in candidates(joints[0], self.max_animals)]
        elif self.max_animals == 1:
            best = [max(of_one, key=lambda joint: joint.score) for of_one in joints.values()]
            animals = [_animal(best)] if best else []
        else:
            links = []
            for edge in kept:
                starts, ends = (candidates(joints[keypoint], self.max_animals) for keypoint in self.edges[edge])
                if starts and ends:
                    places = [peaks.places[[joint.number for joint in each], 2:] for each in (starts, ends)]
                    affinity = affinities(fields, image, edge, *places)
                    links += best_links(starts, ends, affinity, self.min_affinity)
            animals = assemble(links, self.keypoints, self.max_animals)
        keypoints = fields.new_full((len(animals), self.keypoints, 2), torch.nan)
        scores = fields.new_zeros((len(animals), self.keypoints))
        for number, animal in enumerate(animals):
            for keypoint, joint in animal.joints.items():
                keypoints[number, keypoint] = keypoints.new_tensor(joint.xy)
                scores[number, keypoint] = joint.score
        return PoseInstances.from_keypoints(keypoints, scores.clamp(0, 1))


def _animal(joints: Sequence[Joint]) -> Animal:
    animal = Animal()
    for joint in joints:
        animal.add_joint(joint)
    return animal


def _double(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)
