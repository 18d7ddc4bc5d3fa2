"""From a video's file to its poses, in memory or in a file."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcpose.datasets.video import VideoReader
from dlcpose.exporters.pose_file import TYPES, read_pose_tracks, read_provenance
from dlcpose.predict import Predictor
from dlcpose.prediction.loaded_model import LoadedModel, choose
from dlcpose.prediction.partial_results import PartialResults
from dlcpose.prediction.resumable import Outcome
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.video import VideoPrediction, predict_video, write_video_poses
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.pose_tracks import PoseTracks
from tests.datasets.numbered_videos import write_numbered
from tests.prediction.made_up_models import MODELS, frames, single_animal, top_down

COUNT = 23
IMAGES = frames(COUNT, animals=2)
UNEVEN = np.cumsum(np.random.default_rng(1).integers(5, 60, COUNT)).tolist()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "cage.mkv"
    return write_numbered(path, COUNT, size=(64, 64), image_of=IMAGES.__getitem__, milliseconds=UNEVEN)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    made = single_animal()
    checkpoint = tmp_path_factory.mktemp("run") / "best.ckpt"
    checkpoint.write_bytes(b"weights")
    return dataclasses.replace(made, checkpoint=checkpoint, individuals=("mouse",))


def assert_same(one: PoseTracks, other: PoseTracks) -> None:
    for name in TYPES:
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes()), name
    for name in ("skeleton", "individuals", "is_tracked", "video"):
        assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("name", MODELS)
def test_a_frame_s_poses_are_those_of_the_frame_alone(name: str, video: Path) -> None:
    model = MODELS[name]()
    tracks, _ = predict_video(model, video, PredictionSettings(batch_size=4))
    assert tracks.frame_indices.tolist() == list(range(COUNT))
    np.testing.assert_allclose(tracks.times, np.array(UNEVEN) / 1000)
    found = Predictor(model)
    for row, frame in enumerate(VideoReader(video)):
        (alone,) = found.predict([frame.image])
        count = len(alone)
        np.testing.assert_allclose(tracks.keypoints_in_image[row, :count], alone.keypoints_in_image, atol=1e-3)
        np.testing.assert_allclose(tracks.keypoint_scores[row, :count], alone.keypoint_scores, atol=1e-4)
        np.testing.assert_allclose(tracks.scores[row, :count], alone.scores, atol=1e-4)
        np.testing.assert_allclose(tracks.boxes_in_image[row, :count], alone.boxes_in_image, atol=1e-3)
        assert np.isnan(tracks.keypoints_in_image[row, count:]).all()


def test_what_is_known_of_the_video_and_the_model_goes_along(video: Path, model: LoadedModel) -> None:
    tracks, provenance = predict_video(model, video, PredictionSettings())
    assert (tracks.video.path, tracks.video.height, tracks.video.width) == (str(video), 64, 64)
    assert tracks.video.frames == COUNT
    assert (tracks.individuals, tracks.is_tracked) == (("mouse",), True)
    assert provenance.checkpoint == str(model.checkpoint)
    assert len(provenance.checkpoint_hash) == 64
    assert provenance.settings["chosen"]["batch_size"] >= 1
    assert provenance.settings["chosen"]["precision"] in ("32", "bf16")
    assert all(provenance.seconds[stage] > 0 for stage in ("decode", "prepare", "forward", "postprocess"))


@pytest.mark.parametrize(("start", "stop", "step"), [(3, 20, 4), (5, None, 1), (0, 7, 1), (20, 900, 2)])
def test_a_part_is_that_part_of_the_whole(
    start: int, stop: int | None, step: int, video: Path, model: LoadedModel
) -> None:
    whole, _ = predict_video(model, video, PredictionSettings(batch_size=1, precision="32"))
    settings = PredictionSettings(start=start, stop=stop, step=step, batch_size=1, precision="32")
    part, _ = predict_video(model, video, settings)
    chosen = np.arange(COUNT)[start:stop:step]
    assert part.frame_indices.tolist() == chosen.tolist()
    assert part.video.frames == COUNT
    np.testing.assert_allclose(part.keypoints_in_image, whole.keypoints_in_image[chosen], atol=1e-4)
    np.testing.assert_array_equal(part.times, whole.times[chosen])


def test_a_crop_changes_where_is_looked_not_what_pixels_are_called(video: Path) -> None:
    model = single_animal("native")
    tracks, _ = predict_video(model, video, PredictionSettings(crop=(10, 5, 58, 60), precision="32"))
    assert (tracks.video.height, tracks.video.width) == (64, 64)
    for row, frame in enumerate(VideoReader(video)):
        (alone,) = Predictor(model).predict([frame.image[5:60, 10:58].copy()])
        expected = alone.keypoints_in_image + np.array([10, 5])
        np.testing.assert_allclose(tracks.keypoints_in_image[row], expected, atol=1e-3)


def test_invalid_settings_are_reported_before_prediction(video: Path, tmp_path: Path) -> None:
    model = single_animal()
    with pytest.raises(ConfigError, match=r"^crop="):
        predict_video(model, video, PredictionSettings(crop=(0, 0, 65, 64)))
    with pytest.raises(DataError, match=f"start=500: the video has {COUNT} frames"):
        predict_video(model, video, PredictionSettings(start=500))
    with pytest.raises(DataError, match=r"gone\.mp4"):
        predict_video(model, tmp_path / "gone.mp4", PredictionSettings())


def test_progress_is_reported(video: Path) -> None:
    progress = []
    settings = PredictionSettings(batch_size=5, stop=12)
    predict_video(single_animal(), video, settings, lambda done, total: progress.append((done, total)))
    assert progress == [(5, 12), (10, 12), (12, 12)]


def test_a_model_of_one_size_only_has_no_dynamic_crop(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = single_animal("native")
    choose(model, video, PredictionSettings(dynamic_crop=True))

    def picky(batch: Any) -> Any:
        raise RuntimeError("expected 64x64")

    monkeypatch.setattr(model.pipeline, "predict_batch", picky)
    with pytest.raises(ConfigError, match=r"^dynamic_crop: this model reads images of one size only"):
        choose(model, video, PredictionSettings(dynamic_crop=True))


# --------------------------------------------------------------------------------------------------------------- in a file


def written(
    model: LoadedModel, video: Path, folder: Path, settings: PredictionSettings | None = None, **more: Any
) -> Outcome:
    return write_video_poses(
        model, video, folder / "cage.poses.h5", settings or PredictionSettings(batch_size=4), **more
    )


def test_a_file_holds_what_memory_would(model: LoadedModel, video: Path, tmp_path: Path) -> None:
    outcome = written(model, video, tmp_path)
    assert (outcome.was_there, outcome.frames, outcome.problem) == (False, COUNT, None)
    tracks, provenance = predict_video(model, video, PredictionSettings(batch_size=4))
    assert_same(read_pose_tracks(outcome.path), tracks)
    content, found = read_provenance(outcome.path)
    assert content == tracks.video.fingerprint
    assert dataclasses.replace(found, seconds={}) == dataclasses.replace(provenance, seconds={})
    assert [path.name for path in tmp_path.iterdir()] == ["cage.poses.h5"]


def test_what_is_finished_is_left_alone(model: LoadedModel, video: Path, tmp_path: Path) -> None:
    path = written(model, video, tmp_path).path
    before = path.stat()
    again = written(model, video, tmp_path, PredictionSettings(batch_size=8))
    assert again.was_there
    assert path.stat() == before
    for changed, settings, reason in (
        (model, PredictionSettings(step=2), "step: 1 there, 2 here"),
        (model, PredictionSettings(flip_test=True), "flip_test: False there, True here"),
        (dataclasses.replace(model, checkpoint=video), PredictionSettings(), "checkpoint: "),
        (dataclasses.replace(model, conditions=video), PredictionSettings(), "conditions_hash: None there, "),
        (dataclasses.replace(model, detector={"threshold": 0.1}), PredictionSettings(), "detector_hash: None there, "),
    ):
        with pytest.raises(DataError, match=f"holds poses of {reason}.*--overwrite"):
            written(changed, video, tmp_path, settings)
    assert path.stat() == before
    assert written(model, video, tmp_path, PredictionSettings(step=2), overwrite=True).frames == 12
    assert len(read_pose_tracks(path)) == 12


class StoppedError(Exception):
    pass


def stopping_after(count: int) -> Any:
    def progress(done: int, total: int | None) -> None:
        if done >= count:
            raise StoppedError

    return progress


@pytest.mark.parametrize("kind", ["plain", "detector_every", "dynamic_crop", "part", "crop"])
def test_what_was_stopped_goes_on_to_the_same_table(
    kind: str, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "plain": PredictionSettings(batch_size=4),
        "detector_every": PredictionSettings(detector_every=5),
        "dynamic_crop": PredictionSettings(dynamic_crop=True),
        "part": PredictionSettings(batch_size=2, start=2, stop=20, step=2),
        "crop": PredictionSettings(batch_size=4, crop=(0, 0, 50, 50)),
    }[kind]
    made = top_down() if kind == "detector_every" else single_animal("native")
    (tmp_path / "straight").mkdir()
    written(made, video, tmp_path / "straight", settings)
    monkeypatch.setattr("dlcpose.prediction.partial_results.SECONDS", 0.0)
    for stop in (4, 8):
        with pytest.raises(StoppedError):
            written(made, video, tmp_path / "stopped", settings, progress=stopping_after(stop))
        assert (tmp_path / "stopped" / "cage.poses.partial").is_dir()
        assert not (tmp_path / "stopped" / "cage.poses.h5").exists()
    first: list[int] = []
    written(made, video, tmp_path / "stopped", settings, progress=lambda done, total: first.append(done))
    assert first[0] > 8  # it went on
    ours, theirs = (read_pose_tracks(tmp_path / each / "cage.poses.h5") for each in ("stopped", "straight"))
    assert_same(ours, theirs)
    assert [path.name for path in (tmp_path / "stopped").iterdir()] == ["cage.poses.h5"]


def test_an_attempt_with_other_settings_is_not_gone_on_with(model: LoadedModel, video: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        written(model, video, tmp_path, progress=stopping_after(8))
    with pytest.raises(DataError, match=r"cage\.poses\.partial: it holds poses of step: 1 there, 2 here"):
        written(model, video, tmp_path, PredictionSettings(step=2))
    assert written(model, video, tmp_path, PredictionSettings(step=2), overwrite=True).frames == 12


def test_an_attempt_to_overwrite_goes_on_and_no_other(
    model: LoadedModel, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcpose.prediction.partial_results.SECONDS", 0.0)
    with pytest.raises(StoppedError):
        written(model, video, tmp_path, progress=stopping_after(8))
    for expected in ([4, 8], [12, 16]):  # what was there is not wanted, what overwrites it is
        first: list[int] = []

        def stopping(done: int, total: int | None, first: list[int] = first) -> None:
            first.append(done)
            if len(first) == 2:
                raise StoppedError

        with pytest.raises(StoppedError):
            written(model, video, tmp_path, overwrite=True, progress=stopping)
        assert first == expected
    other = PredictionSettings(batch_size=4, step=2)
    assert written(model, video, tmp_path, other, overwrite=True).frames == 12


def test_whoever_runs_out_of_memory_goes_on_with_smaller_batches(
    model: LoadedModel, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlcpose.prediction.partial_results.SECONDS", 0.0)
    with pytest.raises(StoppedError):
        written(model, video, tmp_path, PredictionSettings(batch_size=8), progress=stopping_after(8))
    done: list[int] = []
    settings = PredictionSettings(batch_size=2)
    outcome = written(model, video, tmp_path, settings, progress=lambda count, total: done.append(count))
    assert done[0] == 10
    assert read_provenance(outcome.path)[1].settings["chosen"]["batch_size"] == 2


def test_an_attempt_without_its_choices_is_reported(model: LoadedModel, video: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        written(model, video, tmp_path, progress=stopping_after(8))
    file = tmp_path / "cage.poses.partial" / "settings.json"
    file.write_text(
        json.dumps({name: value for name, value in json.loads(file.read_text()).items() if name != "chosen"})
    )
    with pytest.raises(DataError, match="--overwrite"):
        written(model, video, tmp_path)
    assert written(model, video, tmp_path, overwrite=True).frames == COUNT


def test_an_attempt_stopped_before_the_file_was_put_together(
    model: LoadedModel, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "straight").mkdir()
    written(model, video, tmp_path / "straight")

    def failing(*arguments: Any) -> None:
        raise StoppedError

    with monkeypatch.context() as patched:
        patched.setattr(VideoPrediction, "assemble", failing)
        with pytest.raises(StoppedError):
            written(model, video, tmp_path)
    assert written(model, video, tmp_path).frames == COUNT
    assert_same(read_pose_tracks(tmp_path / "cage.poses.h5"), read_pose_tracks(tmp_path / "straight/cage.poses.h5"))


def test_an_attempt_stopped_after_the_file_was_there_leaves_nothing(
    model: LoadedModel, video: Path, tmp_path: Path
) -> None:
    written(model, video, tmp_path)
    partial = PartialResults(tmp_path / "cage.poses.partial")
    partial.begin({})
    assert written(model, video, tmp_path).was_there
    assert not partial.folder.exists()


def test_unwritable_folder_is_reported_at_once(model: LoadedModel, video: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/dlcpose")):
        with pytest.raises(DataError, match="nothing can be written into this folder"):
            written(model, video, folder)


def test_of_a_damaged_video_there_is_what_could_be_read(model: LoadedModel, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "v.mp4", 60, size=(64, 64), image_of=lambda number: IMAGES[number % COUNT])
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    outcome = write_video_poses(model, path, tmp_path / "v.poses.h5", PredictionSettings(batch_size=4))
    assert outcome.problem is not None
    tracks = read_pose_tracks(outcome.path)
    assert 20 < len(tracks) <= 60
    _, provenance = read_provenance(outcome.path)
    assert provenance.problem == outcome.problem
    missing = {number for first, last in provenance.missing_frames for number in range(first, last + 1)}
    assert not missing & set(tracks.frame_indices.tolist())
    assert missing | set(tracks.frame_indices.tolist()) == set(range(60))


def test_a_damaged_video_is_gone_on_with_by_the_numbers_of_its_frames(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_numbered(tmp_path / "v.mp4", 60, size=(64, 64), image_of=lambda number: IMAGES[number % COUNT])
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    for step in (1, 3):
        settings = PredictionSettings(batch_size=4, step=step)
        straight, stopped = tmp_path / f"straight{step}.poses.h5", tmp_path / f"stopped{step}.poses.h5"
        write_video_poses(model, path, straight, settings)
        assert read_provenance(straight)[1].missing_frames
        monkeypatch.setattr("dlcpose.prediction.partial_results.SECONDS", 0.0)
        for count in (8 // step, 44 // step):  # before the gap, and after it
            with pytest.raises(StoppedError):
                write_video_poses(model, path, stopped, settings, progress=stopping_after(count))
        write_video_poses(model, path, stopped, settings)
        assert_same(read_pose_tracks(stopped), read_pose_tracks(straight))
        ours, theirs = (read_provenance(each)[1] for each in (stopped, straight))
        assert dataclasses.replace(ours, seconds={}) == dataclasses.replace(theirs, seconds={})


# ---------------------------------------------------------------------------------------------------------- what goes in


def test_a_stream_of_arrays_gives_a_stream_of_predictions() -> None:
    model = single_animal()
    predictor = Predictor(model)
    for batch_size in (1, 4):
        found = list(predictor.predict_stream(iter(IMAGES[:6]), batch_size=batch_size))
        assert [each.key for each in found] == [str(number) for number in range(6)]
        for one, other in zip(found, predictor.predict(IMAGES[:6]), strict=True):
            np.testing.assert_allclose(one.keypoints_in_image, other.keypoints_in_image, atol=1e-3)
    with pytest.raises(ConfigError, match="batch_size: expected"):
        predictor.predict_stream(iter(IMAGES), batch_size=0)


@pytest.mark.parametrize("name", MODELS)
def test_frames_smaller_than_the_stride_are_predicted_too(name: str, tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "small.mkv", 3, codec="ffv1", b_frames=None, size=(6, 10))
    tracks, _ = predict_video(MODELS[name](), path, PredictionSettings())
    assert (len(tracks), tracks.video.height, tracks.video.width) == (3, 6, 10)


def test_without_a_second_pass_a_stopped_reading_still_knows_how_long_the_video_is(
    video: Path, model: LoadedModel
) -> None:
    tracks, _ = predict_video(model, video, PredictionSettings(stop=4))
    assert (len(tracks), tracks.video.frames) == (4, COUNT)
    assert len(tracks.gapless()) == COUNT
