import hashlib
import logging
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import sleap_io
import yaml
from PIL import Image as PillowImage

from dlcpose.datasets import splits
from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.structures.errors import ConfigError, DataError
from tests.datasets.dlc_projects import (
    MULTI,
    SINGLE,
    labels,
    multi_columns,
    single_columns,
    ten_frames,
    write_images,
    write_project,
)
from tests.datasets.test_restricted_pickle import Calls

NAN = np.nan
# counts as the README of the shared data states them: frames, individuals, keypoints, share of missing points
README = {
    "openfield-Pranav-2018-10-30": (116, 1, 4, 0.0),
    "Reaching-Mackenzie-2018-08-30": (55, 1, 5, 0.15),
    "flypair24-SLEAP-2024-12-20": (70, 2, 24, 0.04),
    "flypair13-SLEAP-2024-12-20": (48, 2, 13, 0.02),
    "rodentpair15-SLEAP-2024-12-17": (8, 2, 15, None),
}


# --- real projects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", README)
def test_counts_are_those_of_the_readme(shared_data: Path, project: str) -> None:
    frames, individuals, keypoints, missing = README[project]
    data = DeepLabCutFrames(shared_data / project)
    assert (len(data), len(data.individuals), len(data.skeleton)) == (frames, individuals, keypoints)
    assert data.stored_split is None
    if missing is not None:
        points = np.concatenate([frame.keypoints_in_image for frame in data.frames])
        assert len(points) == frames * individuals
        assert np.isnan(points).any(axis=-1).mean() == pytest.approx(missing, abs=0.005)


def test_facts_of_the_real_projects(shared_data: Path) -> None:
    data = {name.split("-")[0]: DeepLabCutFrames(shared_data / name) for name in README}
    sizes = [(frame.height, frame.width) for frame in data["Reaching"].frames]
    assert {size: sizes.count(size) for size in sizes} == {(747, 832): 40, (470, 640): 15}
    assert sorted(map(len, data["rodentpair15"].frames)) == [1, 1, 2, 2, 2, 2, 2, 2]
    assert {name: data[name].has_identities for name in data} == {
        **dict.fromkeys(("openfield", "Reaching", "flypair24"), False),
        **dict.fromkeys(("flypair13", "rodentpair15"), True),
    }
    assert data["flypair13"].individuals == ("male", "female")
    assert data["Reaching"].skeleton.edges == ((0, 1), (3, 4))
    assert data["openfield"].skeleton.pairs == ((1, 2),)
    assert len(data["flypair24"].skeleton.edges) == 23
    first = data["flypair24"].frames[1]
    assert (first.key, first.video, first.frame_index) == (
        "labeled-data/centered_pair/img0015.png",
        "centered_pair",
        15,
    )
    assert data["rodentpair15"][0].image.shape == (1024, 1280, 3)


@pytest.mark.parametrize("project", README)
def test_agrees_with_the_coco_file_of_the_same_labels(shared_data: Path, project: str) -> None:
    ours = DeepLabCutFrames(shared_data / project)
    name = project.split("-")[0].lower()
    theirs = CocoFrames(shared_data, annotations=f"coco/{name}_all.json")
    assert ours.skeleton.names == theirs.skeleton.names
    assert set(map(frozenset, ours.skeleton.edges)) == set(map(frozenset, theirs.skeleton.edges))
    assert [f"{project}/{frame.key}" for frame in ours.frames] == [frame.key for frame in theirs.frames]
    for our, their in zip(ours.frames, theirs.frames, strict=True):
        facts = [(frame.height, frame.width, frame.video, frame.frame_index) for frame in (our, their)]
        assert facts[0] == facts[1]
        np.testing.assert_allclose(
            our.keypoints_in_image, their.keypoints_in_image, atol=6e-4
        )  # rounded to 0.001 there
        np.testing.assert_array_equal(our.visibility, their.visibility)
        if theirs.individuals:
            names = [
                [data.individuals[place] for place in frame.identities]
                for data, frame in ((ours, our), (theirs, their))
            ]
            assert names[0] == names[1]


@pytest.mark.parametrize(
    "project", ["flypair24-SLEAP-2024-12-20", "flypair13-SLEAP-2024-12-20", "openfield-Pranav-2018-10-30"]
)
def test_agrees_with_sleap_io(shared_data: Path, project: str) -> None:
    ours = DeepLabCutFrames(shared_data / project)
    theirs = sleap_io.load_dlc_project(str(shared_data / project / "config.yaml"))
    by_image = {Path(found.video.filename[found.frame_idx]).name: found.instances for found in theirs}
    order = [theirs.skeletons[0].node_names.index(name) for name in ours.skeleton.names]
    for frame in ours.frames:
        animals = by_image[Path(frame.key).name]
        np.testing.assert_allclose(frame.keypoints_in_image, [animal.numpy()[order] for animal in animals], rtol=1e-6)


def test_nothing_in_a_project_changes(shared_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(shared_data / "rodentpair15-SLEAP-2024-12-17", root)

    def state() -> dict[str, str]:
        return {str(path): hashlib.md5(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}

    before = state()
    _ = DeepLabCutFrames(root)[0]
    assert state() == before


@pytest.mark.parametrize("csv", ["madlc_testdata", "madlc_testdata_v2", "maudlc_testdata", "maudlc_testdata_v2"])
def test_the_multi_animal_samples(shared_data: Path, tmp_path: Path, csv: str) -> None:
    config = {
        **MULTI,
        "individuals": ["Animal1", "Animal2"],
        "multianimalbodyparts": ["A", "B", "C"],
        "uniquebodyparts": ["D", "E"] if csv.startswith("mau") else [],
    }
    data = sample_project(shared_data, tmp_path, csv, config)
    assert [len(frame) for frame in data.frames] == [2, 2, 0, 1]
    np.testing.assert_array_equal(
        data.frames[1].keypoints_in_image, [[[12, 13], [NAN, NAN], [15, 16]], [[17, 18], [NAN, NAN], [20, 21]]]
    )
    assert data.frames[1].visibility.tolist() == [[2, 0, 2], [2, 0, 2]]
    assert data.frames[3].identities.tolist() == [0]
    if csv.startswith("mau"):
        assert data.skeleton.unique == ("D", "E")
        np.testing.assert_array_equal(data.frames[0].unique_in_image, np.full((2, 2), NAN))
        np.testing.assert_array_equal(data.frames[3].unique_in_image, [[32, 33], [34, 35]])
    else:
        assert data.frames[0].unique_in_image.shape == (0, 2)


@pytest.mark.parametrize("csv", ["dlc_testdata", "dlc_testdata_v2"])
def test_the_single_animal_samples(shared_data: Path, tmp_path: Path, csv: str) -> None:
    data = sample_project(shared_data, tmp_path, csv, {**SINGLE, "bodyparts": ["C", "A"]})  # another order, one fewer
    assert [len(frame) for frame in data.frames] == [1, 1, 0, 1]
    np.testing.assert_array_equal(data.frames[0].keypoints_in_image, [[[4, 5], [0, 1]]])


def test_the_labels_of_another_scorer_are_found(shared_data: Path, tmp_path: Path) -> None:
    config = {
        **MULTI,
        "individuals": ["Animal1", "Animal2"],
        "multianimalbodyparts": ["A", "B", "C"],
        "uniquebodyparts": ["D", "E"],
    }
    assert len(sample_project(shared_data, tmp_path, "CollectedData_LM", config, name="CollectedData_LM")) == 4


def sample_project(
    shared_data: Path, tmp_path: Path, csv: str, config: dict[str, Any], name: str = "CollectedData_Ada"
) -> DeepLabCutFrames:
    source, folder = shared_data / "format-samples/dlc-csv/labeled-data/video", tmp_path / "labeled-data" / "video"
    folder.mkdir(parents=True)
    for image in source.glob("*.png"):
        shutil.copy(image, folder)
    shutil.copy(source / f"{csv}.csv", folder / f"{name}.csv")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return DeepLabCutFrames(tmp_path)


# --- what projects may look like --------------------------------------------------------------------------------------


def test_names_come_from_the_config_and_places_from_the_folder(tmp_path: Path) -> None:
    config = {**SINGLE, "skeleton": [["nose", "tail"], ["tail", "nose"]], "project_path": "C:\\lab\\made"}
    data = DeepLabCutFrames(write_project(tmp_path, {"b": ten_frames("b"), "a": ten_frames("a")}, config))
    assert [frame.video for frame in data.frames] == ["a"] * 10 + ["b"] * 10
    assert data.skeleton.edges == ((0, 1),)
    assert data.individuals == ("individual_1",)
    assert all(frame.identities.tolist() == [0] for frame in data.frames)
    assert data[3].image.shape == (30, 40, 3)


def test_rows_with_backslashes_and_unsorted(tmp_path: Path) -> None:
    frame = ten_frames()
    frame.index = pd.Index([f"labeled-data\\cage\\img{number}.png" for number in (5, 3, 12, 1, 0, 7, 8, 9, 2, 4)])
    data = DeepLabCutFrames(write_project(tmp_path, {"cage": frame}))
    assert data.frames[0].key == "labeled-data/cage/img0.png"
    assert {frame.frame_index: frame.keypoints_in_image[0, 0, 0] for frame in data.frames}[12] == 8


def test_folders_without_labels_and_folders_for_checking(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_project(tmp_path, {"cage": ten_frames(), "cage_labeled": ten_frames("cage_labeled")})
    (root / "labeled-data" / "new").mkdir()
    with caplog.at_level(logging.WARNING):
        data = DeepLabCutFrames(root)
    assert {frame.video for frame in data.frames} == {"cage"}
    assert "new has no labels" in caplog.text
    assert "cage_labeled" not in caplog.text


def test_the_points_of_the_arena(tmp_path: Path) -> None:
    values = [[*range(12), 20, 21], [*[NAN] * 6, *range(6), NAN, NAN], [*[NAN] * 12, 22, 23]]
    data = DeepLabCutFrames(write_project(tmp_path, {"cage": labels("cage", values, multi_columns())}, MULTI))
    assert data.skeleton.unique == ("door",)
    assert data.skeleton.pairs == ((1, 2),)
    assert [frame.identities.tolist() for frame in data.frames] == [[0, 1], [1], []]
    assert data.frames[2].unique_in_image.tolist() == [[22, 23]]
    assert data.max_animals == 2
    assert not data.empty_is_label


def test_an_individual_that_a_file_lacks_is_not_in_its_frames(tmp_path: Path) -> None:
    config = {**MULTI, "individuals": ["a", "b", "c"]}
    data = DeepLabCutFrames(
        write_project(tmp_path, {"cage": labels("cage", np.ones((2, 14)), multi_columns())}, config)
    )
    assert [frame.identities.tolist() for frame in data.frames] == [[0, 1], [0, 1]]


def test_configs_scorer_is_read_unless_another_is_given(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    (ten_frames() + 100).to_csv(root / "labeled-data/cage/CollectedData_Bob.csv")
    assert DeepLabCutFrames(root).frames[0].keypoints_in_image[0, 0, 0] == 0
    assert DeepLabCutFrames(root, scorer="Bob").frames[0].keypoints_in_image[0, 0, 0] == 100
    with pytest.raises(DataError, match=r"CollectedData_Eve\.csv.*Ada, Bob"):
        DeepLabCutFrames(root, scorer="Eve")


def test_the_h5_wins_over_the_csv(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    (ten_frames() + 100).to_hdf(root / "labeled-data/cage/CollectedData_Ada.h5", key="df_with_missing")
    assert DeepLabCutFrames(root).frames[0].keypoints_in_image[0, 0, 0] == 100


def test_half_a_point_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data = DeepLabCutFrames(write_project(tmp_path, {"cage": labels("cage", [[1, NAN, 3, 4]])}))
    np.testing.assert_array_equal(data.frames[0].keypoints_in_image, [[[NAN, NAN], [3, 4]]])
    assert "1 keypoint has only one of x and y" in caplog.text


def test_the_skeleton_of_the_template_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = {**SINGLE, "skeleton": [["bodypart1", "bodypart2"], ["objectA", "bodypart3"]]}
    with caplog.at_level(logging.WARNING):
        assert DeepLabCutFrames(write_project(tmp_path, {"cage": ten_frames()}, config)).skeleton.edges == ()
    assert "DeepLabCut's template" in caplog.text


def test_limbs_may_be_nested_and_chained(tmp_path: Path) -> None:
    config = {**SINGLE, "bodyparts": list("abcd"), "skeleton": [[["a", "b"]], ["b", "c", "d"]]}
    table = labels("cage", np.ones((1, 8)), single_columns(tuple("abcd")))
    assert DeepLabCutFrames(write_project(tmp_path, {"cage": table}, config)).skeleton.edges == ((0, 1), (1, 2), (2, 3))


def test_a_row_that_stands_twice(tmp_path: Path) -> None:
    twice = labels("cage", [[1, 2, 3, 4]] * 2, images=["img1.png"] * 2)
    root = write_project(tmp_path, {"cage": twice})
    assert len(DeepLabCutFrames(root)) == 1
    twice.iloc[1] = 5
    twice.to_csv(root / "labeled-data/cage/CollectedData_Ada.csv")
    with pytest.raises(DataError, match=r"img1\.png"):
        DeepLabCutFrames(root)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bodyparts": None}, r"config\.yaml.*'bodyparts'"),
        ({"scorer": None}, r"config\.yaml.*'scorer'"),
        ({"bodyparts": "nose"}, "'bodyparts'"),
        ({"bodyparts": ["nose", True]}, "'bodyparts'"),
        ({"bodyparts": ["nose", "nose"]}, r"'bodyparts'.*'nose'"),
        (
            {"bodyparts": ["nose", "ear"]},
            r"CollectedData_Ada\.csv.*ear.*'tail'",
        ),
        ({"skeleton": [["nose", "tial"]]}, r"skeleton.*'tial'"),
        ({"skeleton": [["nose", "nose"]]}, "edge"),
        ({"skeleton": "nose"}, "`skeleton:`"),
        ({"skeleton": ["nose"]}, "`skeleton:`"),
        (MULTI, "individuals"),
    ],
)
def test_errors_in_the_config(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()}, {**SINGLE, **config})
    with pytest.raises(DataError, match=message) as caught:
        DeepLabCutFrames(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bodyparts: [nose", "expected yaml"),
        ("nose", "got str"),
        ("!!python/object/apply:os.getcwd []", "expected yaml"),
    ],
)
def test_a_config_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    (root / "config.yaml").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        DeepLabCutFrames(root)
    assert "\n" not in str(caught.value)


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folder"):
        DeepLabCutFrames(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"config\.yaml"):
        DeepLabCutFrames(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SINGLE))
    with pytest.raises(DataError, match="labeled-data"):
        DeepLabCutFrames(tmp_path)
    (tmp_path / "labeled-data" / "cage").mkdir(parents=True)
    with pytest.raises(DataError, match=r"CollectedData_Ada\.csv"):
        DeepLabCutFrames(tmp_path)


@pytest.mark.parametrize(
    ("columns", "values", "config", "message"),
    [
        (multi_columns(), np.ones((1, 14)), SINGLE, r"the labels name individuals \['a', 'b', 'single'\], but config"),
        (
            multi_columns(),
            np.ones((1, 14)),
            {**MULTI, "individuals": ["a", "c"]},
            r"expected individuals \['a', 'c'\], got 'b'",
        ),
        (
            multi_columns(),
            np.ones((1, 14)),
            {**MULTI, "uniquebodyparts": ["gate"]},
            "the keypoint gate of single .* has no columns",
        ),
        (single_columns()[:3], np.ones((1, 3)), SINGLE, "the column y of tail is missing"),
        (single_columns(), np.full((3, 4), NAN), SINGLE, "all points of all 3 frames are missing"),
    ],
)
def test_labels_that_do_not_fit(
    tmp_path: Path, columns: pd.MultiIndex, values: Any, config: dict[str, Any], message: str
) -> None:
    root = write_project(tmp_path, {"cage": labels("cage", values, columns)}, config)
    with pytest.raises(DataError, match=message):
        DeepLabCutFrames(root)


def test_missing_images_are_counted(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"cage": ten_frames(), "yard": ten_frames("yard")})
    for name in ("cage/img0003.png", "cage/img0005.png", "yard/img0000.png"):
        (root / "labeled-data" / name).unlink()
    with pytest.raises(DataError, match=r"img0003\.png.*2 others"):
        DeepLabCutFrames(root)


def test_an_image_that_is_none_and_one_that_changed(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    data = DeepLabCutFrames(root)
    assert cv2.imwrite(str(root / data.frames[0].key), np.zeros((20, 40), np.uint8))
    with pytest.raises(DataError, match=r"img0000\.png.*40x30.*40x20"):
        _ = data[0]
    (root / data.frames[1].key).write_text("no image")
    with pytest.raises(DataError, match=r"img0001\.png"):
        DeepLabCutFrames(root)


def test_several_scorers_and_none_of_the_config(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()}, {**SINGLE, "scorer": "Eve"})
    assert len(DeepLabCutFrames(root)) == 10  # the only labels there are
    ten_frames().to_csv(root / "labeled-data/cage/CollectedData_Bob.csv")
    with pytest.raises(DataError, match=r"scorer.*Eve.*CollectedData_Ada.*CollectedData_Bob"):
        DeepLabCutFrames(root)


# --- the project's own split ------------------------------------------------------------------------------------------


def write_shuffle(root: Path, name: str, train: Any, test: Any, iteration: int = 0) -> Path:
    folder = root / f"training-datasets/iteration-{iteration}/UnaugmentedDataSet_madeJan1"
    folder.mkdir(parents=True, exist_ok=True)
    tables = [
        pd.read_csv(path, header=[0, 1, 2], index_col=[0, 1, 2]) for path in sorted(root.glob("labeled-data/*/*.csv"))
    ]
    pd.concat(tables).to_csv(folder / "CollectedData_Ada.csv")
    path = folder / f"Documentation_data-made_{name}.pickle"
    data = [
        {"image": ("labeled-data", "cage", "img0000.png"), "size": np.array([3, 30, 40]), "joints": np.ones((2, 3))}
    ]
    path.write_bytes(pickle.dumps([data, np.array(train), np.array(test), 0.8], pickle.HIGHEST_PROTOCOL))
    return path


def test_the_stored_split_is_that_of_the_lowest_shuffle(tmp_path: Path) -> None:
    root = write_project(
        tmp_path, {"cage": ten_frames(), "yard": ten_frames("yard")}, {**SINGLE, "TrainingFraction": [0.8]}
    )
    write_shuffle(root, "80shuffle2", [0], [1])
    write_shuffle(root, "50shuffle1", [2], [3])
    write_shuffle(root, "80shuffle10", [4], [5])
    write_shuffle(root, "80shuffle1", [12, 0, -1], [19])
    write_shuffle(root, "80shuffle0", [6], [7], iteration=1)
    split = DeepLabCutFrames(root).stored_split
    assert split == {
        "train": ("labeled-data/yard/img0002.png", "labeled-data/cage/img0000.png"),
        "test": ("labeled-data/yard/img0009.png",),
    }


def test_the_stored_split_of_a_named_shuffle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()}, {**SINGLE, "TrainingFraction": [0.8, 0.5]})
    for name, test in (("80shuffle1", 1), ("80shuffle2", 2), ("50shuffle2", 3)):
        write_shuffle(root, name, [0], [test])
    expected = {None: (1, "3 shuffles,"), 1: (1, ""), 2: (2, "2 shuffles 2,")}  # a test image, and what is said
    for shuffle, (image, warning) in expected.items():
        caplog.clear()
        split = DeepLabCutFrames(root, shuffle=shuffle).stored_split
        assert split is not None
        assert split["test"] == (f"labeled-data/cage/img{image:04d}.png",)
        assert warning in caplog.text
        assert caplog.text.count("of which") == bool(warning)
        assert caplog.text.count("train.py dataset.shuffle=NUMBER") == bool(
            warning
        )  # other commands have no such setting
    with pytest.raises(DataError, match="expected a shuffle 7 in training-datasets, got 1, 2"):
        DeepLabCutFrames(root, shuffle=7)  # also where another split is taken
    with pytest.raises(DataError, match="expected a shuffle 1 in training-datasets, got none"):
        DeepLabCutFrames(write_project(tmp_path / "new", {"cage": ten_frames()}), shuffle=1)
    with pytest.raises(ConfigError, match="shuffle: expected the number"):
        DeepLabCutFrames(root, shuffle="first")  # type: ignore[arg-type]
    for shuffle, fraction, image in ((2, 0.5, 3), (2, 0.8, 2), (None, 0.5, 3)):
        caplog.clear()
        split = DeepLabCutFrames(root, shuffle=shuffle, fraction=fraction).stored_split
        assert split is not None
        assert split["test"] == (f"labeled-data/cage/img{image:04d}.png",)
        assert "of which" not in caplog.text
    with pytest.raises(
        DataError, match=r"expected a shuffle 1 of the fraction 0\.5 .* got 1 of 0\.8, 2 of 0\.5, 2 of 0\.8\."
    ):
        DeepLabCutFrames(root, shuffle=1, fraction=0.5)
    with pytest.raises(ConfigError, match="fraction: expected one of"):
        DeepLabCutFrames(root, fraction=80)


@pytest.mark.parametrize("settings", [{"shuffle": 1}, {"fraction": 0.8}])
def test_no_other_split_takes_the_settings_of_the_stored_one(tmp_path: Path, settings: dict[str, Any]) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()}, {**SINGLE, "TrainingFraction": [0.8]})
    write_shuffle(root, "80shuffle1", range(8), [8, 9])
    data, plain = DeepLabCutFrames(root, **settings), DeepLabCutFrames(root)
    for split in (splits.block, splits.random, splits.video):
        with pytest.raises(
            ConfigError, match=rf"split={split.__name__}: {next(iter(settings))}=.* Choose split=stored"
        ):
            split(data)
    assert splits.stored(data, val=0.2) == splits.stored(plain, val=0.2)
    assert len(splits.block(plain).train) == 7


def test_the_stored_split_agrees_with_sleap_io(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    root = write_project(tmp_path, {"cage": ten_frames()}, {**SINGLE, "TrainingFraction": [0.7]})
    order = rng.permutation(10)
    write_shuffle(root, "70shuffle1", order[:7], order[7:])
    theirs = sleap_io.load_dlc_splits(str(root / "config.yaml"))
    ours = DeepLabCutFrames(root).stored_split
    assert ours is not None
    for part in ("train", "test"):
        names = {Path(found.video.filename[found.frame_idx]).name for found in theirs[part]}
        assert {Path(key).name for key in ours[part]} == names


def test_frames_that_came_and_went_since_the_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    write_shuffle(root, "80shuffle1", range(8), [8, 9])
    images = [f"img{number:04d}.png" for number in range(1, 12)]
    labels("cage", np.ones((11, 4)), images=images).to_csv(root / "labeled-data/cage/CollectedData_Ada.csv")
    write_images(root / "labeled-data/cage", images)
    with caplog.at_level(logging.WARNING):
        split = DeepLabCutFrames(root).stored_split
    assert split is not None
    assert (len(split["train"]), len(split["test"])) == (7, 2)
    assert "labeled-data/cage/img0000.png" in caplog.text
    assert "2 frames" in caplog.text


def test_a_split_that_runs_something_is_refused(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", {"cage": ten_frames()})
    path = write_shuffle(root, "80shuffle1", [0], [1])
    path.write_bytes(pickle.dumps([Calls(os.mkdir, str(tmp_path / "exploded")), [0], [1], 0.8]))
    data = DeepLabCutFrames(root)  # who does not ask for the split is not kept from the data
    with pytest.raises(DataError, match=r"80shuffle1\.pickle.*mkdir"):
        _ = data.stored_split
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[], [0], [10], 0.8], r"expected rows of CollectedData_Ada\.csv below 10"),
        ([[], [0]], "expected a list of data, train rows and test rows"),
        ({"train": 0}, "expected a list of data, train rows and test rows"),
        ([[], np.array([0.7]), [1], 0.8], "numbers that are not whole"),
    ],
)
def test_a_split_that_does_not_fit(tmp_path: Path, content: Any, message: str) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    write_shuffle(root, "80shuffle1", [0], [1]).write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        _ = DeepLabCutFrames(root).stored_split


def test_a_folder_whose_number_is_none_is_no_iteration(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    write_shuffle(root, "80shuffle1", [0], [1])
    (root / "training-datasets/iteration-²").mkdir()
    assert DeepLabCutFrames(root).stored_split == {
        "train": ("labeled-data/cage/img0000.png",),
        "test": ("labeled-data/cage/img0001.png",),
    }


def test_a_split_without_its_table(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    (write_shuffle(root, "80shuffle1", [0], [1]).parent / "CollectedData_Ada.csv").unlink()
    with pytest.raises(DataError, match="CollectedData_Ada"):
        _ = DeepLabCutFrames(root).stored_split


# --- what is added later, said twice, or elsewhere --------------------------------------------------------------------


def test_a_keypoint_that_was_added_later_is_missing_in_earlier_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {**SINGLE, "bodyparts": ["nose", "tail", "ear"]}
    later = labels("yard", np.ones((2, 6)), single_columns(("nose", "tail", "ear")))
    data = DeepLabCutFrames(write_project(tmp_path, {"cage": labels("cage", np.ones((1, 4))), "yard": later}, config))
    assert [int(frame.visibility.sum()) for frame in data.frames] == [4, 6, 6]
    assert "ear have no columns" in caplog.text


def test_an_animals_part_and_a_unique_one_may_be_added_later(tmp_path: Path) -> None:
    columns = multi_columns()
    has_both = [not (who == "b" and part == "earR") and who != "single" for _, who, part, _ in columns]
    earlier = labels("cage", np.ones((1, sum(has_both))), columns[has_both])
    later = labels("yard", np.ones((1, len(columns))), columns)
    data = DeepLabCutFrames(write_project(tmp_path, {"cage": earlier, "yard": later}, MULTI))
    assert np.isnan(data.frames[0].keypoints_in_image).any(axis=-1).tolist() == [[False] * 3, [False, False, True]]
    assert np.isnan(data.frames[0].unique_in_image).all()
    assert not np.isnan(data.frames[1].unique_in_image).any()


def test_csv_that_differs_from_the_h5_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    h5 = root / "labeled-data/cage/CollectedData_Ada.h5"
    ten_frames().to_hdf(h5, key="df_with_missing")
    DeepLabCutFrames(root)
    assert "something else" not in caplog.text
    changed = ten_frames()
    changed.iloc[3, 1] += 0.5
    for stale, expected in (
        (changed, "1 value differs, such as nose y of img0003.png"),
        (ten_frames()[:7], "10 rows, the h5 7"),
    ):
        caplog.clear()
        stale.to_hdf(h5, key="df_with_missing")
        assert len(DeepLabCutFrames(root)) == len(stale)
        assert expected in caplog.text


@pytest.mark.parametrize("value", [np.inf, 1e39, -3e38, 1e7])
def test_a_place_that_no_image_has_is_refused(tmp_path: Path, value: float) -> None:
    table = ten_frames()
    table.iloc[4, 2] = value
    root = write_project(tmp_path, {"cage": table})
    with pytest.raises(DataError, match=r"CollectedData_Ada\.csv.*tail x in .*img0004\.png"):
        DeepLabCutFrames(root)
    table.to_hdf(root / "labeled-data/cage/CollectedData_Ada.h5", key="df_with_missing")
    (root / "labeled-data/cage/CollectedData_Ada.csv").unlink()
    with pytest.raises(DataError, match=r"CollectedData_Ada\.h5.*tail x in .*img0004\.png"):
        DeepLabCutFrames(root)


def test_labels_outside_of_their_images_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    DeepLabCutFrames(write_project(tmp_path, {"cage": labels("cage", [[1, 2, 300, 4]])}))
    assert "1 keypoint lies outside" in caplog.text


def test_a_photo_is_as_large_as_it_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_project(tmp_path, {"cage": labels("cage", [[1, 2, 3, 4]], images=["img1.jpg"])})
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.new("RGB", (40, 30)).save(root / "labeled-data/cage/img1.jpg", exif=exif)
    data = DeepLabCutFrames(root)
    assert (data.frames[0].height, data.frames[0].width) == data[0].image.shape[:2] == (40, 30)


@pytest.mark.parametrize(
    "name", ["config.yaml", "labeled-data/cage/CollectedData_Ada.csv", "labeled-data/cage/img0001.png"]
)
def test_files_elsewhere_are_read_only_where_that_is_said(tmp_path: Path, name: str) -> None:
    root = write_project(tmp_path / "project", {"cage": ten_frames()})
    (root / name).rename(tmp_path / "elsewhere")
    (root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="follow_links"):
        DeepLabCutFrames(root)
    assert len(DeepLabCutFrames(root, follow_links=True)) == 10


def test_no_line_of_a_file_elsewhere_is_told(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", {"cage": ten_frames()})
    folder = root / "labeled-data/cage"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/CollectedData_Ada.csv").write_text("a secret,1\n")
    with pytest.raises(DataError, match="follow_links") as caught:
        DeepLabCutFrames(root)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"iteration": "abc"}, "'iteration'"),
        ({"iteration": [1]}, "'iteration'"),
        ({"iteration": float("inf")}, "'iteration'"),
        ({"TrainingFraction": ["a"]}, "'TrainingFraction'"),
        ({"TrainingFraction": [None]}, "'TrainingFraction'"),
        ({"scorer": ["a"]}, "'scorer'"),
        ({"multianimalproject": "false"}, "'multianimalproject'"),
        ({"identity": "no"}, "'identity'"),
        ({"pcutoff": "0.6"}, "'pcutoff'"),
        ({"pcutoff": -0.1}, "from 0 to 1 under 'pcutoff'"),
        ({"pcutoff": 60}, "from 0 to 1 under 'pcutoff'"),
        ({"pcutoff": float("nan")}, "'pcutoff'"),
        ({"pcutoff": True}, "'pcutoff'"),
    ],
)
def test_settings_of_another_kind(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()}, {**SINGLE, **config})
    with pytest.raises(DataError, match=rf"config\.yaml.*{message}"):
        DeepLabCutFrames(root)


@pytest.mark.parametrize(("config", "expected"), [({}, None), ({"pcutoff": None}, None), ({"pcutoff": 0}, 0.0)])
def test_the_pcutoff_is_that_of_the_config(tmp_path: Path, config: dict[str, Any], expected: float | None) -> None:
    assert DeepLabCutFrames(write_project(tmp_path, {"cage": ten_frames()}, {**SINGLE, **config})).pcutoff == expected


def test_a_pcutoff_for_each_keypoint_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()}, {**SINGLE, "pcutoff": [0.6, 0.4]})
    assert DeepLabCutFrames(root).pcutoff is None
    assert "config.yaml: pcutoff has a value for each keypoint" in caplog.text
