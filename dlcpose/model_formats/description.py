"""Make the description of an exported graph."""

from dlcpose.model_formats.graph import box_rule_settings
from dlcpose.model_formats.registry import ExportRequest
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.prediction.graph_description import CropsOfGraph, GraphDescription
from dlcpose.prediction.loaded_model import sha256_of
from dlcpose.structures.versions import versions


def describe(request: ExportRequest, pipeline: PoseEstimator, *, detector_hash: str = "") -> GraphDescription:
    """The description of a pipeline's graph. detector_hash: of the file of a top-down model's detector."""
    checkpoint_hash = sha256_of(request.checkpoint.path)
    crops = None
    if pipeline.crop_settings is not None and pipeline.detector is not None:
        graph, settings = pipeline.detector.graph_detector(), box_rule_settings(pipeline.detector)
        crops = CropsOfGraph(pipeline.crop_settings, graph, detector_hash, **settings)
    described = request.checkpoint.description
    return GraphDescription(
        skeleton=pipeline.skeleton,
        model_input=pipeline.model_input,
        steps=pipeline.graph_steps(),
        precision=request.precision,
        checkpoint_hash=checkpoint_hash,
        individuals=described.individuals,
        max_animals=described.max_animals,
        versions=versions(),
        crops=crops,
    )
