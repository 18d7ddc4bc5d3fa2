"""Starting from another run's weights: what is taken, what is said of the rest, and what is refused."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dlcpose.checkpoint import Description, read_checkpoint
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import CheckpointError, ConfigError
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.split import Split
from dlcpose.training.init_weights import RECORD, init_from
from tests.made_up_runs import frames_of, halves, option, pipeline_of, tiny_config
from tests.shells import SMALL, TINY, shell
from tests.tiny_models import built, composed, tiny, worms

ANEW = {"head.heatmap_layers.weight", "head.heatmap_layers.bias"}


def config_with(**changes: Any) -> dict[str, Any]:
    loss = option("loss", "binary_cross_entropy")
    head = {**option("head", "heatmap"), "deconvolutions": 0, "offsets": False, "heatmap_loss": loss}
    return {
        "init_from": {"checkpoint": None, "strict": True},
        "resume": None,
        "detector": {},
        **tiny_config(head=head),
        **changes,
    }


def model(keypoints: int, **changes: Any) -> tuple[dict[str, Any], PoseEstimator, Description]:
    """A fresh pipeline for data of so many keypoints, with its config and description."""
    config, data = config_with(**changes), frames_of(2)
    names = tuple(f"point{number}" for number in range(keypoints))
    data.skeleton = Skeleton(names)
    pipeline = pipeline_of(config, data)
    description = Description(config, data.skeleton, pipeline.model_input, halves(data), data.individuals, 1)
    return config, pipeline, description


def saved(path: Path, pipeline: Any, described: Mapping[str, Any]) -> Path:
    """A checkpoint whose weights are all unlike those of a fresh model, which are the same for the same seed."""
    weights = {
        name: value + 1 if value.is_floating_point() else value + 7 for name, value in pipeline.state_dict().items()
    }
    torch.save({"state_dict": weights, "dlcpose": described}, path)
    return path


@pytest.fixture
def four_points(tmp_path: Path) -> Path:
    _, pipeline, description = model(4)
    return saved(tmp_path / "four.ckpt", pipeline, description.as_dict())


def source(path: Any, strict: Any = True) -> dict[str, Any]:
    return {"checkpoint": path if path is None else str(path), "strict": strict}


def start(
    path: Path, keypoints: int, folder: Path, *, strict: bool = True, **changes: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state of a model before and after it starts from a checkpoint; `folder` is its run folder."""
    config, pipeline, description = model(keypoints, init_from=source(path, strict), run_dir=str(folder), **changes)
    before = {name: value.clone() for name, value in pipeline.state_dict().items()}
    init_from(config, pipeline, description, None)
    return before, pipeline.state_dict()


def refused(path: Path | str, keypoints: int = 4, *, strict: bool = True, **changes: Any) -> str:
    """What is said of it, in one line; the model keeps its weights."""
    changes = {"run_dir": "nowhere", **changes}
    config, pipeline, description = model(keypoints, init_from=source(path, strict), **changes)
    before = {name: value.clone() for name, value in pipeline.state_dict().items()}
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        init_from(config, pipeline, description, None)
    assert all(torch.equal(value, before[name]) for name, value in pipeline.state_dict().items())
    assert not Path("nowhere").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_fits_whole_is_taken_whole(four_points: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = start(four_points, 4, tmp_path / "run")
    given = read_checkpoint(four_points).weights
    assert after.keys() == given.keys()
    assert all(torch.equal(value, given[name]) for name, value in after.items())
    assert not any(torch.equal(value, before[name]) for name, value in after.items())
    record = json.loads((tmp_path / "run" / RECORD).read_text())
    assert set(record["loaded"]) == set(after)
    assert record["unexpected"] == record["missing"] == {}
    count = sum(value.numel() for value in after.values())
    assert f"starts from {four_points}: {count:,} of {count:,} weights loaded" in capsys.readouterr().out


def test_another_number_of_keypoints_is_refused_unless_said(four_points: Path) -> None:
    said = refused(four_points, 7)
    assert said.startswith(
        f"init_from.checkpoint={four_points} does not fit: its keypoints are 4 (point0, point1, point2, point3), "
    )
    assert "the data's are 7 (point0, point1, point2, point3, ...); " in said
    assert "head.heatmap_layers.weight (4x32x1x1 in the file, 7x32x1x1 in the model) and 1 more" in said
    assert said.endswith(
        f"load {len(model(7)[1].state_dict()) - 2} of the model's "
        f"{len(model(7)[1].state_dict())} tensors and initialize the rest."
    )
    assert "Add init_from.strict=false" in said


@pytest.mark.parametrize("keypoints", [1, 7])
def test_what_fits_is_taken_and_the_rest_listed(
    four_points: Path, keypoints: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = start(four_points, keypoints, tmp_path / "run", strict=False)
    given = read_checkpoint(four_points).weights
    assert {name for name, value in after.items() if torch.equal(value, before[name])} == ANEW
    assert all(torch.equal(after[name], given[name]) for name in after.keys() - ANEW)
    record = json.loads((tmp_path / "run" / RECORD).read_text())
    assert record["checkpoint"] == str(four_points)
    assert [len(record["keypoints"][side]) for side in ("there", "here")] == [4, keypoints]
    assert set(record["loaded"]) == after.keys() - ANEW
    assert set(record["missing"]) == set(record["unexpected"]) == ANEW
    assert record["missing"]["head.heatmap_layers.bias"] == f"4 in the file, {keypoints} in the model"
    said = capsys.readouterr().out.splitlines()
    assert said[1] == f"  keypoints there: 4 (point0, point1, point2, point3); here: {keypoints} " + (
        "(point0)" if keypoints == 1 else "(point0, point1, point2, point3, ...)"
    )
    assert said[2].startswith("  loaded: backbone (")
    assert said[3] == f"  not loaded: head ({4 * 33})"
    assert said[4] == f"  initialized anew: head ({keypoints * 33})"
    assert said[5] == f"  each of them: {tmp_path / 'run' / RECORD}"


def test_the_same_number_of_other_keypoints_is_not_taken_for_the_same(four_points: Path, tmp_path: Path) -> None:
    config, pipeline, description = model(4, init_from=source(four_points), run_dir=str(tmp_path / "run"))
    other = replace(description, skeleton=Skeleton(("nose", "neck", "back", "tail")))
    with pytest.raises(CheckpointError, match=r"its keypoints are 4 \(point0, .*the data's are 4 \(nose, neck"):
        init_from(config, pipeline, other, None)
    init_from({**config, "init_from": source(four_points, strict=False)}, pipeline, other, None)
    given = read_checkpoint(four_points).weights
    assert all(torch.equal(value, given[name]) for name, value in pipeline.state_dict().items())


def test_test_frames_that_the_other_run_was_trained_on_are_told(
    four_points: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, pipeline, description = model(4, init_from=source(four_points), run_dir=str(tmp_path / "run"))
    init_from(config, pipeline, description, None)
    assert not caplog.messages
    learned = read_checkpoint(four_points).description.split.train
    moved = replace(description.split, train=description.split.val, val=(), test=learned)
    init_from(config, pipeline, replace(description, split=moved), None)
    (told,) = caplog.messages
    assert (
        f"it was trained on {len(learned)} of the {counted(len(learned), 'test frame')}, such as {min(learned)}" in told
    )


def test_another_neck_and_head_leave_the_backbone(four_points: Path, tmp_path: Path) -> None:
    neck = {**option("neck", "fpn"), "channels": 48}
    assert "neck.laterals.0.weight" in refused(four_points, neck=neck)
    before, after = start(four_points, 4, tmp_path / "run", neck=neck, strict=False)
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"backbone"}  # the head's bias would fit, but its weight does not
    assert json.loads((tmp_path / "run" / RECORD).read_text())["missing"]["head.heatmap_layers.bias"] == (
        "its layer does not fit"
    )


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("strict", [True, False])
def test_a_file_in_which_nothing_fits_is_refused(tmp_path: Path, strict: bool) -> None:
    other = built(tiny(composed("model=rtmpose_s")), worms(4, animals=1))
    path = saved(tmp_path / "other.ckpt", other, other.description)
    said = refused(path, strict=strict)
    assert said.startswith(
        f"init_from.checkpoint={path}: nothing in it fits this model: it is of BottomUp, CspNextBackbone, RtmccHead"
    )
    assert re.search(r"this of BottomUp, TimmBackbone '\w+', HeatmapHead", said)  # which of timm's


def test_an_imported_model_that_does_not_fit_is_told_with_what_prints_its_settings(
    four_points: Path, tmp_path: Path
) -> None:
    hint = "It was imported: `dlcpose import` prints the settings that build its model, after `train on:`."
    neck = {**option("neck", "fpn"), "channels": 48}
    assert hint not in refused(four_points, neck=neck)
    _, pipeline, description = model(4)
    imported = replace(description, split=Split((), (), ())).as_dict()
    path = saved(tmp_path / "fits_in_part.ckpt", pipeline, imported)
    assert refused(path, neck=neck).endswith(hint)
    assert hint not in refused(path, 7)
    other = built(tiny(composed("model=rtmpose_s")), worms(4, animals=1))
    imported = {**other.description, "split": Split((), (), ()).as_dict()}
    assert refused(saved(tmp_path / "other.ckpt", other, imported)).endswith(hint)


@pytest.mark.parametrize("content", [b"hello", b"", None])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.ckpt").write_bytes(content)
    said = refused(tmp_path / "a.ckpt")
    assert said.startswith(str(tmp_path / "a.ckpt"))
    assert (
        "cannot be read as a checkpoint without running code" if content is not None else "no such checkpoint"
    ) in said


class Payload:
    """What a hostile pickle would do when read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.trace), "w"))


def test_a_payload_does_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "x": Payload(tmp_path / "it ran")}, tmp_path / "a.ckpt")
    assert "without running code" in refused(tmp_path / "a.ckpt", strict=False)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"init_from": {"checkpoint": "a.ckpt", "strict": True}, "resume": "b.ckpt"},
            "init_from.checkpoint=a.ckpt resume=",
        ),
        ({"init_from": {"checkpoint": None, "strict": False}}, "init_from.strict=false: "),
        (
            {"init_from": {"checkpoint": "a.ckpt", "strict": "no"}},
            "init_from.strict: expected true or false, got 'no'.",
        ),
        ({"init_from": {"checkpoint": 3, "strict": True}}, "init_from.checkpoint: expected "),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], said: str) -> None:
    config, pipeline, description = model(4, **changes)
    resumed = Path("b.ckpt") if "resume" in changes else None
    with pytest.raises(ConfigError) as caught:
        init_from(config, pipeline, description, resumed)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("setting", ["pretrained", "checkpoint_path"])
def test_two_sources_of_the_same_weights_are_refused(four_points: Path, setting: str) -> None:
    config, pipeline, description = model(4, init_from=source(four_points))
    config["backbone"] = {**config["backbone"], setting: True}
    with pytest.raises(
        ConfigError, match=rf"backbone\.{setting}=True init_from\.checkpoint=.*: both give the backbone its weights"
    ):
        init_from(config, pipeline, description, None)


def test_a_run_does_not_go_on_as_another_model(four_points: Path) -> None:
    config, pipeline, description = model(7)
    with pytest.raises(CheckpointError) as caught:
        init_from(config, pipeline, description, four_points)
    assert str(caught.value).startswith(
        f"resume={four_points}: it is of another model: head.heatmap_layers.weight (4x32"
    )
    assert str(caught.value).endswith(
        f"start a new one from its weights: init_from.checkpoint={four_points} init_from.strict=false."
    )
    config, pipeline, description = model(4)
    before = {name: value.clone() for name, value in pipeline.state_dict().items()}
    init_from(config, pipeline, description, four_points)  # Lightning loads it, with the optimizer's state
    assert all(torch.equal(value, before[name]) for name, value in pipeline.state_dict().items())


# ------------------------------------------------------------------------------------------------ heads and detectors


def test_what_a_head_knows_of_its_data_is_not_taken_to_other_data(tmp_path: Path) -> None:
    data = worms(4, animals=2)
    config = {**tiny(composed("model=bottom_up_resnet_18")), "run_dir": str(tmp_path / "run")}
    pipeline = built(config, data)
    path = saved(tmp_path / "a.ckpt", pipeline, pipeline.description)
    fresh = built(config, data)
    facts = {name: value.clone() for name, value in fresh.state_dict().items() if name.startswith("head.distance_")}
    description = read_checkpoint(path).description
    init_from({**config, "init_from": source(path)}, fresh, description, None)  # strict: it is no mistake of the user's
    after, given = fresh.state_dict(), read_checkpoint(path).weights
    assert facts
    assert all(torch.equal(after[name], value) for name, value in facts.items())
    record = json.loads((tmp_path / "run" / RECORD).read_text())
    assert facts.keys() <= record["missing"].keys()
    assert set(record["missing"].values()) == {"of the data"}
    assert all(torch.equal(after[name], given[name]) for name in record["loaded"])


def test_a_detector_is_taken_too_unless_another_is_named(tmp_path: Path) -> None:
    data = worms(4, animals=2)
    config = {**tiny(composed("model=top_down_resnet_18")), "run_dir": str(tmp_path / "run")}
    pipeline = built(config, data)
    path = saved(tmp_path / "a.ckpt", pipeline, pipeline.description)
    given, description = read_checkpoint(path).weights, read_checkpoint(path).description
    for named in (None, "b.ckpt"):
        fresh = built(config, data)
        before = {name: value.clone() for name, value in fresh.state_dict().items()}
        chosen = {**config, "init_from": source(path), "detector": {**config["detector"], "checkpoint": named}}
        init_from(chosen, fresh, description, None)
        after, expected = fresh.state_dict(), before if named else given
        assert all(torch.equal(after[name], expected[name]) for name in after if name.startswith("detector."))
        assert all(torch.equal(after[name], given[name]) for name in after if name.startswith("backbone."))


# ------------------------------------------------------------------------------------------------ from the shell


@pytest.mark.slow
def test_a_run_starts_where_another_ended(here: Path) -> None:
    """With more keypoints, top-down with its detector: all of it in one run folder."""
    quick = (*SMALL, *TINY, "detector.backbone.name=test_resnet", "detector.longest_side=64", "dataset.animals=2")
    crops = ("model=top_down_resnet_18", "input.height=64", "input.width=64", "detector.training.lr=1e-12")
    first = shell("train.py", *crops, *quick, "dataset.skeleton=mouse", "hydra.run.dir=first")
    assert first.code == 0, first.err
    best = here / "first" / "checkpoints" / "best.ckpt"
    second = (
        *crops,
        *quick,
        "dataset.skeleton=fly",
        f"init_from.checkpoint={best}",
        "init_from.strict=false",
        "optimizer.lr=1e-12",
    )
    answer = shell("train.py", *second, "hydra.run.dir=second")
    assert answer.code == 0, answer.err
    assert f"starts from {best}: " in answer.out
    record = json.loads((here / "second" / RECORD).read_text())
    given = read_checkpoint(best).weights
    ended = read_checkpoint(here / "second" / "checkpoints" / "best.ckpt").weights
    learned = [name for name in record["loaded"] if name.endswith(("weight", "bias"))]
    for name in learned:  # hardly moved by such a rate, the detector in its own training neither
        torch.testing.assert_close(ended[name], given[name], atol=1e-6, rtol=1e-6)
    assert any(name.startswith("detector.") for name in learned)
    assert not [name for name in record["missing"] if not name.startswith("head.heatmap_layers.")]
