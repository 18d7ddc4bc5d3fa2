"""Every name in `available_models()`: it composes, builds, learns, decodes, and a fresh process predicts as it did.

As tiny models (tests/tiny_models.py): what is tested is that the parts fit each other, not what they are worth.
"""

import functools
import inspect
import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.utils.data import DataLoader

from dlcpose.build import SeveralAnimalsError
from dlcpose.config.models import available_models, multi_animal_models
from dlcpose.datasets.base import LabeledFrames
from dlcpose.pipelines.base import PoseModule
from dlcpose.predict import Predictor
from dlcpose.prediction.batch_norm_folding import fold_batch_norms
from dlcpose.prediction.loaded_model import LoadedModel
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import PoseSample
from tests.made_up_runs import trainer_of
from tests.shells import python
from tests.tiny_models import (
    ALL_MODELS,
    FINDING_ANYTHING,
    WITHOUT_RANDOMNESS,
    batch_of,
    built,
    composed,
    first_steps,
    smallest_of_each,
    tiny,
    worms,
    worms_node,
)

KEYPOINTS = 4
STEPS = 3
FIELDS = [field.name for field in fields(PosePrediction) if field.name != "key"]


def predictions_of(predictor: Predictor, samples: Sequence[PoseSample]) -> list[PosePrediction]:
    """What a model says of images, or of labeled frames where it speaks of nothing else."""
    if predictor.pipeline.needs_labels:
        return [found for batch in predictor.stream_labeled(samples, batch_size=8) for found in batch]
    return predictor.predict([sample.image for sample in samples])


# For all checkpoints of a folder, by what they hold themselves.
PREDICT = f"""
from __future__ import annotations
import sys
from pathlib import Path
import numpy as np
import dlcpose
from dlcpose.instantiate import Instantiator
from dlcpose.checkpoint import read_checkpoint

{inspect.getsource(predictions_of)}
for checkpoint in sorted(Path(sys.argv[1]).glob("*.ckpt")):
    data = Instantiator()(read_checkpoint(checkpoint).description.config["dataset"], "dataset")
    samples = [data[index] for index in range(len(data))]
    for number, found in enumerate(predictions_of(dlcpose.load(checkpoint, device="cpu"), samples)):
        np.savez(checkpoint.with_suffix(f".again{{number}}.npz"), **vars(found))
"""


@dataclass(frozen=True)
class Learned:
    """The losses of a model's first steps, its checkpoint, and what it predicts for the frames."""

    losses: list[float]
    checkpoint: Path
    predictions: list[PosePrediction]


Learn = Callable[[str, int], Learned]


@pytest.fixture(scope="module")
def learn_first_steps(tmp_path_factory: pytest.TempPathFactory) -> Learn:
    """Builds a tiny model for a number of keypoints and trains it, once for all tests."""
    folder = tmp_path_factory.mktemp("models")

    @functools.cache
    def learned(model: str, keypoints: int) -> Learned:
        animals = 2 if model in multi_animal_models() else 1
        config = tiny(composed(f"model={model}"), **FINDING_ANYTHING, **WITHOUT_RANDOMNESS)
        data = worms(keypoints, animals)
        pipeline = built({**config, "dataset": worms_node(keypoints, animals)}, data)
        losses, trainer = first_steps(pipeline, batch_of(data, pipeline), STEPS, folder)
        checkpoint = folder / f"{model}-{keypoints}.ckpt"
        trainer.save_checkpoint(checkpoint)
        fold_batch_norms(pipeline.eval())  # as loading does
        predictor = Predictor(LoadedModel(pipeline, torch.device("cpu")))
        return Learned(losses, checkpoint, predictions_of(predictor, [data[index] for index in range(len(data))]))

    return learned


LESS_OR_MORE = itertools.product(available_models() if ALL_MODELS else smallest_of_each(available_models()), (1, 24))


@pytest.mark.parametrize(
    ("model", "keypoints"),
    [
        *((model, KEYPOINTS) for model in available_models()),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in LESS_OR_MORE),
    ],
)
def test_model_learns_and_predicts(model: str, keypoints: int, learn_first_steps: Learn) -> None:
    learned = learn_first_steps(model, keypoints)
    assert len(learned.losses) == STEPS
    assert learned.losses[-1] < learned.losses[0], learned.losses
    for found in learned.predictions:
        assert found.keypoints_in_image.shape[1:] == (keypoints, 2)
        assert len(found) > 0


# One of each family; the others differ from one of these in the backbone.
FAMILIES = ["resnet_18", "bottom_up_resnet_18", "dekr_w18", "top_down_resnet_18", "rtmpose_s", "ctd_coam_w32"]


@pytest.mark.slow  # one is among tests/test_predict.py
def test_a_fresh_process_predicts_the_same(learn_first_steps: Learn, tmp_path: Path) -> None:
    """One process for all of them: to import torch takes longer than to predict. DLCPOSE_MODELS=all takes every model."""
    models = available_models() if ALL_MODELS else FAMILIES
    learned = [learn_first_steps(model, KEYPOINTS) for model in models]
    for each in learned:
        shutil.copy(each.checkpoint, tmp_path)
    (tmp_path / "predict.py").write_text(PREDICT)
    done = python(tmp_path / "predict.py", tmp_path, cwd=tmp_path)
    assert done.code == 0, done.err
    for each in learned:
        for number, found in enumerate(each.predictions):
            with np.load(tmp_path / f"{each.checkpoint.stem}.again{number}.npz") as again:
                for name in FIELDS:
                    said = f"{each.checkpoint.stem}: {name}"
                    np.testing.assert_array_equal(again[name], getattr(found, name), err_msg=said)


@pytest.mark.parametrize("model", sorted(set(available_models()) - set(multi_animal_models())))
def test_a_model_for_one_animal_is_refused_for_two(model: str) -> None:
    with pytest.raises(SeveralAnimalsError, match="the data has up to 2 in an image"):
        built(tiny(composed(f"model={model}")), worms(4, animals=2))


# ------------------------------------------------------------------------------------------------ two images by heart

# One of each family, on the smallest backbone; so little can be learned at a high rate.
BY_HEART = {
    "one animal": ("model=resnet_18", "optimizer.lr=5e-3"),
    "part affinity": ("model=bottom_up_resnet_18", "optimizer.lr=5e-3"),
    "DLCRNet": ("model=dlcrnet_stride16_ms5",),
    "DEKR": ("model=dekr_w18", "backbone=resnet_18"),
    "top-down": ("model=top_down_resnet_18", "optimizer.lr=5e-3"),
}
TIMES = 200


@pytest.mark.slow
@pytest.mark.parametrize("family", BY_HEART)
def test_two_images_are_learned_by_heart(family: str, tmp_path: Path) -> None:
    """All animals are found, to less than 2 px, and none that is not there."""
    config = tiny(composed(*BY_HEART[family]))
    data = worms(4, animals=1 if family == "one animal" else 2, unique_points=0)
    pipeline = built(config, data)
    detector = pipeline.detector
    if detector is not None:
        alone = built(tiny(composed("model=detection")), data)
        learn(alone, data, tmp_path)
        detector.load_state_dict(alone.detector.state_dict())
    learn(pipeline, data, tmp_path)
    with torch.no_grad():
        predictions = pipeline.eval().predict_batch(batch_of(data, pipeline))
    for found, frame in zip(predictions, data.frames, strict=True):
        apart = np.linalg.norm(found.keypoints_in_image[:, None] - frame.keypoints_in_image, axis=-1)  # (M, N, K)
        errors = np.nanmean(apart, axis=-1)
        assert len(found) == len(frame)
        pairs = linear_sum_assignment(errors)
        assert errors[pairs].mean() < 2.0


def learn(pipeline: PoseModule, data: LabeledFrames, folder: Path) -> None:
    """As a run does: with the model's optimizer and its scheduler."""
    trainer = trainer_of(folder, max_epochs=1)
    trainer.fit(pipeline, train_dataloaders=DataLoader([batch_of(data, pipeline)] * TIMES, batch_size=None))
