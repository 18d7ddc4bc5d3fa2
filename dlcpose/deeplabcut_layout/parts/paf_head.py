"""DeepLabCut's part affinity head, with its graph and the edges that evaluation has kept of it."""

import itertools

import torch

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.parts.heatmap_head import SIGMA_OF_RADIUS, layers_of
from dlcpose.deeplabcut_layout.registries import HEADS, HeadPlace
from dlcpose.structures.data_files import shown
from dlcpose.structures.errors import DataError

LAYERS = ("heatmap_head", "locref_head", "paf_head", "convt1", "convt2", "convt3", "convt4", "hm_ref_layers")
MAX_EDGES = 2_000  # all of 63 keypoints: composing a config of many takes minutes


@HEADS.register("DLCRNetHead")
def paf_head(node: Node, config: SnapshotConfig, place: HeadPlace) -> Part:
    """Its layers, decoder and targets. Channels of the first layer follow from the stages, whatever the config says."""
    predictor = node.node("predictor")
    predictor.expect({"add_discarded": False, "force_fusion": False})
    graph = predictor.pairs("graph")
    if len(graph) > MAX_EDGES:
        raise DataError(f"{predictor.where}.graph: expected at most {MAX_EDGES} edges, got {len(graph)}.")
    layers = layers_of(node.node("heatmap_config"))
    if layers.pop("final_kernel") or not predictor.flag("apply_sigmoid", True):
        raise DataError(
            f"{node.where}: dlcpose imports part affinity heads with a sigmoid and without a last convolution."
        )
    radius, width = _target_sizes(node)
    settings = {
        **layers,
        "stages": node.integer("num_stages", 5),
        "stage_channels": node.integer("features_dim", 128),
        "offset_std": predictor.number("locref_stdev", 7.2801),
        "smoothing": predictor.number("sigma", 1.0),
        "smoothing_radius": predictor.integer("nms_radius", 5),
        "window": predictor.integer("nms_radius", 5),
        "min_affinity": predictor.number("min_affinity", 0.05),
        "max_animals": predictor.integer("num_animals"),
        "sigma": radius * SIGMA_OF_RADIUS,
        "offset_radius": radius,
        "field_width": width,
    }
    has_all = graph == [list(pair) for pair in itertools.combinations(range(len(config.bodyparts)), 2)]
    choices = {"head": "deeplabcut_paf", f"{place.key}/edges": "all" if has_all else "listed"}
    if not has_all:
        settings["edges.pairs"] = graph
    keep = set(predictor.integers("edges_to_keep")) if "edges_to_keep" in predictor else set(range(len(graph)))
    return Part(
        choices=choices,
        settings={f"{place.key}.{name}": value for name, value in settings.items()},
        weights=Renamed([(f"{place.theirs}{name}", f"{place.ours}{name}") for name in (*LAYERS, "paf_ref_layers")]),
        constants={f"{place.ours}kept": torch.tensor([edge in keep for edge in range(len(graph))])},
    )


def _target_sizes(node: Node) -> tuple[float, float]:
    """Radius around keypoints and width of fields in training, input pixels."""
    radius, width = 17.0, 20.0
    where = f"{node.where}.target_generator.generators"
    generators = node.node("target_generator").content.get("generators") or []
    if not isinstance(generators, list):
        raise DataError(f"{where}: expected a list, got {shown(generators)}.")
    for generator in generators:
        each = Node(generator, where)
        radius, width = each.number("pos_dist_thresh", radius), each.number("width", width)
    return radius, width
