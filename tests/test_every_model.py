"""Every name in `available_models()`: it composes, builds, learns, decodes, and a fresh process predicts as it did.

As tiny models (tests/tiny_models.py): what is tested is that the parts fit each other, not what they are worth.
"""

import inspect
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.utils.data import DataLoader

from dlcpose.build import SeveralAnimalsError
from dlcpose.config.models import available_models, multi_animal_models
from dlcpose.datasets.base import LabelledFrames
from dlcpose.pipelines.base import PoseModule
from dlcpose.predict import Predictor
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import PoseSample
from tests.made_up_runs import trainer_of
from tests.shells import python
from tests.tiny_models import (
    FINDING_ANYTHING,
    WITHOUT_CHANCE,
    batch_of,
    built,
    composed,
    first_steps,
    tiny,
    worms,
    worms_node,
)

KEYPOINTS = (1, 4, 24)
STEPS = 3
FIELDS = [field.name for field in fields(PosePrediction) if field.name != "key"]


def answers_of(predictor: Predictor, samples: Sequence[PoseSample]) -> list[PosePrediction]:
    """What a model says of images, or of labelled frames where it speaks of nothing else."""
    if predictor.pipeline.needs_labels:
        return [found for batch in predictor.stream_labelled(samples, batch_size=8) for found in batch]
    return predictor.predict([sample.image for sample in samples])


# For all checkpoints of a folder, by what they hold themselves.
PREDICT = f"""
from __future__ import annotations
import sys
from pathlib import Path
import numpy as np
import dlcpose
from dlcpose.build import Parts
from dlcpose.checkpoint import read_checkpoint

{inspect.getsource(answers_of)}
for checkpoint in sorted(Path(sys.argv[1]).glob("*.ckpt")):
    data = Parts()(read_checkpoint(checkpoint).description.config["dataset"], "dataset")
    samples = [data[index] for index in range(len(data))]
    for number, found in enumerate(answers_of(dlcpose.load(checkpoint, device="cpu"), samples)):
        np.savez(checkpoint.with_suffix(f".again{{number}}.npz"), **vars(found))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each model leaves its checkpoint and what it answered."""
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("model", available_models())
@pytest.mark.parametrize("keypoints", KEYPOINTS)
def test_it_learns_and_answers(model: str, keypoints: int, folder: Path) -> None:
    animals = 2 if model in multi_animal_models() else 1
    config = tiny(composed(f"model={model}"), **FINDING_ANYTHING, **WITHOUT_CHANCE)
    data = worms(keypoints, animals)
    pipeline = built({**config, "dataset": worms_node(keypoints, animals)}, data)
    losses, trainer = first_steps(pipeline, batch_of(data, pipeline), STEPS, folder)
    assert len(losses) == STEPS
    assert losses[-1] < losses[0], losses
    checkpoint = folder / f"{model}-{keypoints}.ckpt"
    trainer.save_checkpoint(checkpoint)
    answers = answers_of(Predictor(pipeline.eval(), torch.device("cpu")), [data[index] for index in range(len(data))])
    for number, found in enumerate(answers):
        assert found.keypoints_in_image.shape[1:] == (keypoints, 2)
        assert len(found) > 0
        np.savez(checkpoint.with_suffix(f".answer{number}.npz"), **vars(found))


def test_a_fresh_process_predicts_the_same(folder: Path, tmp_path: Path) -> None:
    """One process for all of them: to import torch takes longer than to predict."""
    answers = sorted(folder.glob("*.answer*.npz"))
    if not answers:
        pytest.skip("no model was chosen beside this test")
    (tmp_path / "predict.py").write_text(PREDICT)
    done = python(tmp_path / "predict.py", folder, cwd=tmp_path)
    assert done.code == 0, done.err
    for path in answers:
        with np.load(path) as before, np.load(path.with_name(path.name.replace(".answer", ".again"))) as after:
            for name in FIELDS:
                np.testing.assert_array_equal(after[name], before[name], err_msg=f"{path.stem}: {name}")


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
        answers = pipeline.eval().predict_batch(batch_of(data, pipeline))
    for found, frame in zip(answers, data.frames, strict=True):
        apart = np.linalg.norm(found.keypoints_in_image[:, None] - frame.keypoints_in_image, axis=-1)  # (M, N, K)
        errors = np.nanmean(apart, axis=-1)
        assert len(found) == len(frame)
        pairs = linear_sum_assignment(errors)
        assert errors[pairs].mean() < 2.0


def learn(pipeline: PoseModule, data: LabelledFrames, folder: Path) -> None:
    """As a run does: with the model's optimizer and its scheduler."""
    trainer = trainer_of(folder, max_epochs=1)
    trainer.fit(pipeline, train_dataloaders=DataLoader([batch_of(data, pipeline)] * TIMES, batch_size=None))
