"""Prune the PAF graph of a trained model to the edges that separate animals on the data (Lauer et al. 2022)."""

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from dlcpose.callbacks.best import best_of_run
from dlcpose.codecs.paf_graph import Edges, edge_separability, select_edges
from dlcpose.datasets.datamodule import EvaluationCrops, PoseDataModule
from dlcpose.heads.base import PafGraph
from dlcpose.metrics.base import EvaluatedFrames, figures_of
from dlcpose.pipelines.base import PoseEstimator, PoseModule
from dlcpose.structures.atomic_files import atomic_path, write_atomic
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PosePrediction

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
Kept = npt.NDArray[np.bool_]


class PafGraphPruning(Callback):
    """When training has ended, selects edges with the weights of the best epoch and saves the selection beside them.

    How well each edge separates pairs within an animal from pairs between animals is measured on training frames. Of
    several sets, from a spanning tree of the best edges up to all edges, the one with the best `monitor` on the
    validation frames is kept; of equally good ones the smallest, which is the fastest. The checkpoint that is evaluated
    and loaded has only those. monitor, mode: a figure over the validation frames, "max" or "min". count: how many edges
    to keep instead (a tree at least), null: as validation shows. tries: number of sets that are compared. frames:
    maximum number of training frames, evenly chosen. run_dir: the run's folder, where paf_graph.csv lists the edges
    with their separability, or None. Raises ConfigError where the model's head has no edges to select from. Source:
    Lauer et al. 2022, data-driven skeleton.
    """

    def __init__(
        self,
        run_dir: str | Path | None = None,
        *,
        monitor: str = "val/oks_ap",
        mode: str = "max",
        count: int | None = None,
        tries: int = 6,
        frames: int = 200,
    ) -> None:
        if mode not in ("min", "max") or tries < 2 or frames < 1 or (count is not None and count < 1):
            raise ValueError(
                "expected mode min or max, tries of 2 or more, frames and count of 1 or more, got "
                f"{mode}, {tries}, {frames} and {count}"
            )
        self.monitor, self.mode, self.count = monitor, mode, count
        self.tries, self.frames, self.run_dir = tries, frames, run_dir

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        pipeline, _, _ = _parts(trainer, pl_module)
        given = [f"val/{name}" for name in figures_of(pipeline.metrics, EvaluatedFrames([], [], pipeline.skeleton))]
        if self.count is None and self.monitor not in given:
            raise ConfigError(
                f"callbacks.paf_graph_pruning.monitor: expected a figure of poses, got {self.monitor!r}, "
                f"which does not depend on the PAF graph. Take one of {', '.join(given)}, or say "
                "how many to keep with callbacks.paf_graph_pruning.count."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _, head, _ = _parts(trainer, pl_module)
        head.keep(np.ones(len(head.edges), bool))  # a run resumed from a finished one selects anew

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        path = best_of_run(trainer, monitored=False)
        if trainer.is_global_zero and path is not None:
            pipeline, head, data = _parts(trainer, pl_module)
            before = {name: value.cpu().clone() for name, value in pipeline.state_dict().items()}
            content = read_checkpoint_file(path)
            device = pipeline.device
            try:
                pipeline.load_state_dict(content["state_dict"])
                pipeline.to(trainer.strategy.root_device).eval()
                with torch.no_grad():
                    self._choose(pipeline, head, data)
                content["state_dict"]["head.kept"] = head.kept.cpu().clone()
            finally:
                pipeline.to(device)
                pipeline.load_state_dict(before)
            with atomic_path(path) as partial:
                torch.save(content, partial)

    def _choose(self, pipeline: PoseEstimator, head: PafGraph, data: PoseDataModule) -> None:
        """Set the head's selected edges."""
        head.keep(np.ones(len(head.edges), bool))
        within, between = self._affinities(pipeline, head, data)
        if not any(len(one) and len(other) for one, other in zip(within, between, strict=True)):
            logger.warning("No training frame shows two animals, so edges cannot be compared, and all are kept.")
            return
        sets = self._sets(within, between, head.edges, len(pipeline.skeleton))
        if len(sets) > 1:
            figures = self._figures(pipeline, head, data, sets)
            tried = ", ".join(f"{kept.sum()}: {figure:.4g}" for kept, figure in zip(sets, figures, strict=True))
            logger.info("%s by the number of edges: %s.", self.monitor, tried)
        head.keep(sets[_best(figures, self.mode)] if len(sets) > 1 else sets[0])
        logger.info("%d of %s kept.", head.kept.sum(), counted(len(head.edges), "edge"))
        if self.run_dir is not None:
            write_atomic(
                Path(self.run_dir) / "paf_graph.csv", _as_csv(pipeline, head, edge_separability(within, between))
            )

    def _affinities(
        self, pipeline: PoseEstimator, head: PafGraph, data: PoseDataModule
    ) -> tuple[list[Array], list[Array]]:
        """The predicted affinities of labeled pairs for each edge: within an animal, and between two."""
        places = np.linspace(0, len(data.train_indices) - 1, min(self.frames, len(data.train_indices))).round()
        chosen = [data.train_indices[int(place)] for place in places]
        within: list[list[Array]] = [[] for _ in head.edges]
        between: list[list[Array]] = [[] for _ in head.edges]
        for batch in _batches(pipeline, data, chosen):
            each = head.gt_affinities(pipeline(batch.images).animals, batch)
            for collected, found in zip((within, between), each, strict=True):
                for of_edge, values in zip(collected, found, strict=True):
                    of_edge.append(values)
        return [np.concatenate(edge) for edge in within], [np.concatenate(edge) for edge in between]

    def _sets(self, within: list[Array], between: list[Array], edges: Edges, keypoints: int) -> list[Kept]:
        """The sets of edges that are compared, the smallest first."""
        sizes = np.array([self.count])
        if self.count is None:
            sizes = np.unique(np.geomspace(keypoints - 1, len(edges), self.tries).round())
        return [select_edges(within, between, edges, keypoints, int(size)) for size in sizes]

    def _figures(
        self, pipeline: PoseEstimator, head: PafGraph, data: PoseDataModule, sets: Sequence[Kept]
    ) -> list[float]:
        """The monitored figure of each set over the validation frames."""
        predictions: list[list[PosePrediction]] = [[] for _ in sets]
        for batch in _batches(pipeline, data, data.val_indices):
            maps = pipeline(batch.images)
            for kept, found in zip(sets, predictions, strict=True):
                head.keep(kept)
                found += pipeline.predictions_in_image(batch, pipeline.decode_batch(batch, maps))
        labels = [data.data.frames[index] for index in data.val_indices]
        evaluated = [EvaluatedFrames(found, labels, pipeline.skeleton, pipeline.pcutoff) for found in predictions]
        each = [figures_of(pipeline.metrics, frames) for frames in evaluated]
        return [figures.get(self.monitor.removeprefix("val/"), float("nan")) for figures in each]


def _parts(trainer: Trainer, pl_module: LightningModule) -> tuple[PoseEstimator, PafGraph, PoseDataModule]:
    model: PoseModule = cast(PoseModule, pl_module)
    data: PoseDataModule = trainer.datamodule  # type: ignore[attr-defined]
    pipeline = model.estimator
    graph = None if pipeline is None else pipeline.head.paf_graph
    if pipeline is None or graph is None:
        raise ConfigError(
            f"callbacks.paf_graph_pruning: {type(model if pipeline is None else pipeline.head).__name__} has no PAF graph "
            "to prune. Leave `paf_graph_pruning` out of callbacks=[...], or take a model of part affinity fields such as "
            "model=bottom_up_resnet_18."
        )
    if not graph.edges:
        raise ConfigError(
            "callbacks.paf_graph_pruning: a single keypoint has no edges to choose from. Leave `paf_graph_pruning` "
            "out of callbacks=[...]."
        )
    return pipeline, graph, data


def _batches(pipeline: PoseEstimator, data: PoseDataModule, indices: Sequence[int]) -> Iterator[PoseBatch]:
    """Frames without augmentation, normalized, on the model's device."""
    crops = EvaluationCrops(data.data, data.model_input, indices)
    for first in range(0, len(indices), data.batch_size):
        places = range(first, min(first + data.batch_size, len(indices)))
        yield pipeline.normalized(collate([crops[place] for place in places]).to(pipeline.device))


def _best(figures: Sequence[float], mode: str) -> int:
    """The place of the best figure, of equal ones the first; the last, all edges, where no figure is defined."""
    signed = np.array(figures) * (1 if mode == "max" else -1)
    return len(figures) - 1 if np.isnan(signed).all() else int(np.nanargmax(signed))


def _as_csv(pipeline: PoseEstimator, head: PafGraph, scores: Array) -> bytes:
    names, text = pipeline.skeleton.names, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["first", "second", "separability", "kept"])
    for (first, second), score, kept in zip(head.edges, scores.tolist(), head.kept.tolist(), strict=True):
        writer.writerow([names[first], names[second], f"{score:.4f}", int(kept)])
    return text.getvalue().encode()
