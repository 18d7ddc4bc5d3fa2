import copy
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from pycocotools.coco import COCO
from pycocotools.cocoeval import Params

from dlcpose.datasets.coco import AP10K, HUMAN, CocoFrames, image_root
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.exporters.coco import coco_labels
from dlcpose.structures.errors import DataError
from tests.datasets.dlc_projects import MULTI, labels, multi_columns, write_project

SAMPLES = {"ap10k": 17, "fly": 32, "locust": 35, "zebra": 9, "animalpose": 20}
NAN = np.nan
CATEGORY = {"id": 1, "name": "mouse", "keypoints": ["nose", "earL", "earR"], "skeleton": [[1, 2], [1, 3]]}


def image(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.png", "width": 40, "height": 30, **fields}


def annotation(number: int, image_id: int, /, **fields: Any) -> dict[str, Any]:
    keypoints = [1, 2, 2, 3, 4, 1, 0, 0, 0]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [1, 2, 10, 5],
        "area": 50,
        "keypoints": keypoints,
        **fields,
    }


def content(**lists: Any) -> dict[str, Any]:
    return {"images": [image(7)], "annotations": [annotation(1, 7)], "categories": [CATEGORY], **lists}


def written(root: Path, coco: dict[str, Any], name: str = "labels.json", images: str = "") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(coco))
    for one in filter(None, coco["images"]):
        path = root / images / str(one.get("file_name", "x.png"))
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.zeros((30, 40, 3), np.uint8))
    return root


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_of_public_data_are_read(shared_data: Path, name: str) -> None:
    folder = shared_data / "format-samples" / "coco-keypoints" / name
    data = CocoFrames(folder)
    assert (len(data), len(data.skeleton), data.max_animals) == (2, SAMPLES[name], 1)
    assert all(data[index].image.shape[:2] == (frame.height, frame.width) for index, frame in enumerate(data.frames))
    assert data.skeleton.pairs
    assert len(set(data.skeleton.sigmas)) == (9 if name == "ap10k" else 1)


@pytest.mark.parametrize("name", ["openfield", "reaching", "flypair24", "flypair13"])
def test_agrees_with_pycocotools(shared_data: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = COCO(str(shared_data / "coco" / f"{name}_all.json"))
    ours = CocoFrames(shared_data, annotations=f"coco/{name}_all.json")
    by_key = {frame.key: frame for frame in ours.frames}
    assert len(theirs.imgs) == len(by_key) == len(ours)
    for image_id, facts in theirs.imgs.items():
        frame = by_key[facts["file_name"]]
        found = theirs.loadAnns(theirs.getAnnIds(imgIds=image_id))
        triples = np.array([one["keypoints"] for one in found], np.float32).reshape(len(found), -1, 3)
        np.testing.assert_array_equal(frame.visibility, triples[..., 2])
        np.testing.assert_array_equal(np.nan_to_num(frame.keypoints_in_image), triples[..., :2])
        np.testing.assert_array_equal(np.isnan(frame.keypoints_in_image).any(axis=-1), triples[..., 2] == 0)
        boxes = np.array([one["bbox"] for one in found])
        np.testing.assert_allclose(frame.boxes_in_image[:, 2:] - frame.boxes_in_image[:, :2], boxes[:, 2:], atol=1e-3)
        np.testing.assert_allclose(frame.boxes_in_image[:, :2], boxes[:, :2], rtol=1e-6)
        np.testing.assert_allclose(frame.areas, [one["area"] for one in found], rtol=1e-6)


def test_sigmas_of_humans_are_pycocotools(tmp_path: Path) -> None:
    kind = {**CATEGORY, "keypoints": list(HUMAN), "skeleton": []}
    person = annotation(1, 7, keypoints=[5, 5, 2] * 17)
    data = CocoFrames(written(tmp_path, content(categories=[kind], annotations=[person])))
    np.testing.assert_allclose(data.skeleton.sigmas, Params("keypoints").kpt_oks_sigmas)
    reordered = {**kind, "keypoints": list(HUMAN[::-1])}
    data = CocoFrames(written(tmp_path, content(categories=[reordered], annotations=[person])))
    assert set(data.skeleton.sigmas) == {0.1}


def test_several_files_are_the_stored_split(shared_data: Path) -> None:
    parts = {"test": "coco/openfield_val.json", "train": "coco/openfield_train.json"}
    data = CocoFrames(shared_data, annotations=parts)
    assert data.stored_split is not None
    assert {part: len(keys) for part, keys in data.stored_split.items()} == {"train": 93, "test": 23}
    assert [frame.key for frame in data.frames] == [*data.stored_split["train"], *data.stored_split["test"]]


def test_individuals_and_videos(shared_data: Path) -> None:
    data = CocoFrames(shared_data, annotations="coco/flypair13_all.json")
    assert data.individuals == ("male", "female")
    assert all(frame.identities.tolist() == [0, 1] for frame in data.frames)
    assert (data.frames[1].video, data.frames[1].frame_index) == ("clip", 159)
    assert data.stored_split is None
    assert not data.has_identities
    assert data.empty_is_label


@pytest.mark.parametrize("value", ["0.4", -0.1, 1.5, NAN, [0.4], True])
def test_a_pcutoff_that_is_none_is_refused(tmp_path: Path, value: Any) -> None:
    root = written(tmp_path, content(info={"dlcpose": {"pcutoff": value}}))
    with pytest.raises(DataError, match=r"labels\.json: info: dlcpose: expected a number from 0 to 1 under 'pcutoff'"):
        CocoFrames(root)


@pytest.mark.parametrize("info", [None, "made by hand", [1], {"year": 2020}, {"dlcpose": None}, {"dlcpose": {}}])
def test_what_other_tools_say_of_a_file_is_no_pcutoff(tmp_path: Path, info: Any) -> None:
    assert CocoFrames(written(tmp_path, content(info=info))).pcutoff is None


def test_a_pcutoff_is_that_of_all_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, number, pcutoff in (("a", 7, 0.4), ("b", 8, 0.4), ("c", 9, 0.2)):
        one = content(
            images=[image(number)], annotations=[annotation(1, number)], info={"dlcpose": {"pcutoff": pcutoff}}
        )
        written(tmp_path, one, f"{name}.json")
    assert CocoFrames(tmp_path, annotations={"train": "a.json", "val": "b.json"}).pcutoff == 0.4
    assert not caplog.records
    assert CocoFrames(tmp_path, annotations={"train": "a.json", "val": "c.json"}).pcutoff is None
    assert "pcutoff is 0.4 in a.json, 0.2 in c.json" in caplog.text


def test_visibility_boxes_crowds_and_empty_images(tmp_path: Path) -> None:
    only_box = annotation(2, 7)
    del only_box["keypoints"], only_box["area"]
    crowd = annotation(3, 7, iscrowd=1, bbox=[5, 6, 7, 8])
    coco = content(images=[image(7), image(8)], annotations=[annotation(1, 7), only_box, crowd])
    data = CocoFrames(written(tmp_path, coco))
    frame, empty = data.frames
    np.testing.assert_array_equal(frame.keypoints_in_image, [[[1, 2], [3, 4], [NAN, NAN]], np.full((3, 2), NAN)])
    assert frame.visibility.tolist() == [[2, 1, 0], [0, 0, 0]]
    assert frame.boxes_in_image.tolist() == [[1, 2, 11, 7], [1, 2, 11, 7]]
    np.testing.assert_array_equal(frame.areas, [50, NAN])
    assert frame.ignored_in_image.tolist() == [[5, 6, 12, 14]]
    assert frame.identities.tolist() == [-1, -1]
    assert (len(empty), empty.height, empty.width) == (0, 30, 40)
    assert data.skeleton.edges == ((0, 1), (0, 2))
    assert data.skeleton.pairs == ((1, 2),)


def test_empty_annotation_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    coco = content(annotations=[annotation(1, 7), annotation(2, 7, keypoints=[], bbox=[])])
    assert len(CocoFrames(written(tmp_path, coco)).frames[0]) == 1
    assert "annotations [2]" in caplog.text


def test_categories_of_one_kind_are_merged_and_others_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rat, fly = (
        {**CATEGORY, "id": 2, "name": "rat"},
        {**CATEGORY, "id": 3, "name": "fly", "keypoints": ["head"], "skeleton": []},
    )
    animals = [annotation(1, 7), annotation(2, 7, category_id=2), annotation(3, 7, category_id=3, keypoints=[9, 9, 2])]
    both = content(categories=[CATEGORY, rat], annotations=animals[:2])
    assert len(CocoFrames(written(tmp_path, both)).frames[0]) == 2
    root = written(tmp_path, content(categories=[CATEGORY, rat, fly], annotations=animals))
    with pytest.raises(DataError, match=r"category.*mouse.*rat.*fly"):
        CocoFrames(root)
    data = CocoFrames(root, category="fly")
    assert data.skeleton.names == ("head",)
    assert data.frames[0].keypoints_in_image.tolist() == [[[9, 9]]]
    assert "2 annotations" in caplog.text
    with pytest.raises(DataError, match=r"cow.*mouse.*rat.*fly"):
        CocoFrames(root, category="cow")


def test_the_only_json_is_found_wherever_it_lies(tmp_path: Path) -> None:
    root = written(tmp_path, content(), "annotations/labels.json", images="images")
    (root / "predictions.json").write_text("[]")
    assert CocoFrames(root, images="images")[0].image.shape == (30, 40, 3)
    written(tmp_path, content(), "more.json")
    with pytest.raises(DataError, match=r"more\.json.*annotations/labels\.json"):
        CocoFrames(root)
    assert len(CocoFrames(root, annotations="annotations/labels.json", images="images")) == 1


def test_the_folder_of_the_images_is_found_from_the_json(tmp_path: Path, shared_data: Path) -> None:
    root = written(tmp_path, content(), "annotations/labels.json", images="images")
    assert image_root(root / "annotations/labels.json") == (root / "images").resolve()
    assert image_root(shared_data / "coco/openfield_all.json") == shared_data


def changed(**fields: Any) -> dict[str, Any]:
    return content(annotations=[annotation(1, 7, **fields)])


@pytest.mark.parametrize(
    ("coco", "message"),
    [
        (changed(keypoints=[1, 2, 2]), r"labels\.json: annotation 1.*'keypoints'.*9"),
        (changed(keypoints=[1, 2, "x"] * 3), r"annotation 1.*keypoints"),
        (changed(keypoints=[1, 2, 3] * 3), r"annotation 1.*visibility"),
        (changed(bbox=[1, 2, 3]), r"annotation 1.*'bbox'.*4"),
        (changed(keypoints=[0] * 9), "keypoint"),
        (changed(image_id=8), r"annotation 1.*image 8"),
        (content(images=[image(7, width="40")]), r"image 7.*'width'"),
        (content(images=[image(7, width=40.5)]), r"image 7.*'width'"),
        (content(images=[image(7, height=-1)]), r"image 7.*'height'"),
        (content(images=[image(7, frame_index="f12")]), r"image 7.*'frame_index'"),
        (content(images=[image(7, video=["a"])]), r"image 7.*'video'"),
        (content(images=[image(7), {**image(8), "id": 7}]), r"id 7.*7\.png.*8\.png"),
        (content(images=[{**image(7), "id": [7]}]), "'id'"),
        (content(images=[{**image(7), "id": True}]), "'id'"),
        (content(images=[{**image(7), "id": 2**65}]), r"'id'"),  # any number of such ids have one hash
        (content(categories=[{**CATEGORY, "id": 2**70}]), "category with an id"),
        (content(images=[{"id": 7, "width": 40, "height": 30}]), r"image 7.*'file_name'"),
        (content(images=[None]), "image number 1"),
        (content(annotations=[None]), "annotation number 1"),
        (content(annotations=["x"]), "annotation number 1"),
        (changed(area="large"), r"annotation 1.*'area'"),
        (changed(area=[12.0]), r"annotation 1.*'area'"),
        (changed(area=-5), r"annotation 1.*'area'"),
        (changed(area=1e308), r"annotation 1.*'area'"),
        (changed(bbox=[1, 2, 1e308, 4]), r"annotation 1.*bbox"),
        (changed(bbox=[1, 2, float("nan"), 4]), r"annotation 1.*bbox"),
        (changed(keypoints=[1e300, 2, 2, *[0] * 6]), r"annotation 1.*1e\+300"),
        (changed(keypoints=[float("inf"), 2, 2, *[0] * 6]), r"annotation 1.*keypoints"),
        (changed(keypoints=[1, 2, "2", *[0] * 6]), r"annotation 1.*keypoints"),
        (changed(keypoints={"nose": [1, 2]}), r"annotation 1.*keypoints"),
        (changed(iscrowd="no"), r"annotation 1.*'iscrowd'"),
        (changed(individual=["a"]), r"labels\.json: annotation 1.*'individual'"),
        (changed(individual="\ud800"), "individual needs a name of plain characters"),
        (content(categories=[{**CATEGORY, "keypoints": ["a", "b", "\ud800"]}]), "plain characters"),
        (changed(image_id="7"), r"annotation 1.*image '7'.*such as 7"),
        (changed(image_id=[7]), r"annotation 1.*image \[7\]"),
        (content(images=[]), r"annotation 1.*image 7.*0 images\.$"),
        (changed(category_id=[1]), r"annotation 1.*'category_id'"),
        (content(categories=["mouse"]), "category number 1"),
        (content(categories=[CATEGORY, CATEGORY]), r"category.*id"),
        (content(categories=[{**CATEGORY, "keypoints": "nose"}]), "'keypoints'"),
        (content(categories=[{**CATEGORY, "skeleton": [[1, 2, 3]]}]), "edge"),
        (content(categories=[{**CATEGORY, "skeleton": [["nose", "tail"]]}]), "edge"),
        (content(categories=[{**CATEGORY, "sigmas": ["a", "b", "c"]}]), "sigmas"),
        (content(categories=[{**CATEGORY, "sigmas": [0.1, 0.0, 0.1]}]), "sigmas"),
        (content(categories=[{**CATEGORY, "sigmas": [0.1, float("nan"), 0.1]}]), "sigmas"),
        (content(categories=[{**CATEGORY, "pairs": [[0]]}]), "pair"),
        (
            content(images=[image(7), image(8, file_name="7.png")]),
            r"7\.png",
        ),
        (content(categories=[{"id": 1, "name": "mouse"}]), r"category.*'mouse'"),
        (content(categories=[{**CATEGORY, "skeleton": [[0, 1]]}]), "edge"),
        ({"images": []}, r"'images', 'annotations', 'categories'"),
    ],
)
def test_errors_in_the_json_say_where(tmp_path: Path, coco: dict[str, Any], message: str) -> None:
    written(tmp_path, coco)
    with pytest.raises(DataError, match=message) as caught:
        CocoFrames(tmp_path, annotations="labels.json")
    assert "\n" not in str(caught.value)


def test_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folder"):
        CocoFrames(tmp_path / "nowhere")
    (tmp_path / "a file").write_text("")
    with pytest.raises(DataError, match=rf"got a file\. Set root={re.escape(str(tmp_path))} and annotations=a file\."):
        CocoFrames(tmp_path / "a file")
    with pytest.raises(DataError, match="json"):
        CocoFrames(tmp_path)
    with pytest.raises(DataError, match=r"labels\.json"):
        CocoFrames(tmp_path, annotations="labels.json")
    (tmp_path / "labels.json").write_text("{")
    with pytest.raises(DataError, match="json"):
        CocoFrames(tmp_path, annotations="labels.json")
    written(tmp_path, content(images=[image(7), image(8), image(9)]))
    for name in ("8.png", "9.png"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"8\.png.*1 other of 3"):
        CocoFrames(tmp_path)


def test_an_image_of_another_size_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    data = CocoFrames(written(tmp_path, content(images=[image(7, width=41)])))
    with pytest.raises(DataError, match=r"7\.png.*41x30.*40x30"):
        _ = data[0]


@pytest.mark.parametrize("name", ["./7.png", ".//7.png", "images/../7.png"])
def test_an_image_by_two_names_is_one(tmp_path: Path, name: str) -> None:
    """Else it could be learned from and tested on."""
    (tmp_path / "images").mkdir()
    twice = content(images=[image(7), image(8, file_name=name)], annotations=[annotation(1, 7), annotation(2, 8)])
    with pytest.raises(DataError, match=r"once, got 7\.png"):
        CocoFrames(written(tmp_path, twice))


def test_parts_that_do_not_fit_together(tmp_path: Path) -> None:
    other = content(images=[image(8)], annotations=[annotation(1, 8)], categories=[copy.deepcopy(CATEGORY)])
    other["categories"][0]["keypoints"][0] = "snout"
    written(tmp_path, content(), "a.json")
    written(tmp_path, other, "b.json")
    with pytest.raises(DataError, match=r"b\.json.*a\.json.*snout"):
        CocoFrames(tmp_path, annotations={"train": "a.json", "test": "b.json"})
    with pytest.raises(DataError, match="once"):
        CocoFrames(tmp_path, annotations={"train": "a.json", "test": "a.json"})
    with pytest.raises(DataError, match=r"train, val or test.*all"):
        CocoFrames(tmp_path, annotations={"all": "a.json"})


def test_what_the_exporter_writes_is_read_back(tmp_path: Path) -> None:
    values = [[*range(1, 13), 20, 21], [*[NAN] * 6, *range(1, 7), NAN, NAN]]
    project = DeepLabCutFrames(write_project(tmp_path, {"cage": labels("cage", values, multi_columns())}, MULTI))
    (tmp_path / "labels.json").write_text(json.dumps(coco_labels(project, range(2))))
    data = CocoFrames(tmp_path)
    assert data.skeleton == project.skeleton
    for written_frame, read in zip(project.frames, data.frames, strict=True):
        facts = [
            (frame.key, frame.height, frame.width, frame.video, frame.frame_index) for frame in (written_frame, read)
        ]
        assert facts[0] == facts[1]
        np.testing.assert_array_equal(read.keypoints_in_image, written_frame.keypoints_in_image)
        np.testing.assert_array_equal(read.unique_in_image, written_frame.unique_in_image)
        assert [data.individuals[place] for place in read.identities] == [
            "ab"[place] for place in written_frame.identities
        ]


def test_edges_by_names_and_sizes_from_the_images(tmp_path: Path) -> None:
    kind = {**CATEGORY, "skeleton": [["nose", "earL"], [1, 3]]}
    data = CocoFrames(written(tmp_path, content(categories=[kind], images=[{"id": 7, "file_name": "7.png"}])))
    assert data.skeleton.edges == ((0, 1), (0, 2))
    assert (data.frames[0].height, data.frames[0].width) == (30, 40)


def test_only_empty_annotations_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def blank(**fields: Any) -> dict[str, Any]:
        return {"image_id": 7, "category_id": 1, "keypoints": [0] * 9, **fields}

    animal = {key: value for key, value in annotation(1, 7).items() if key != "id"}
    empties = [
        blank(),
        blank(bbox=[0, 0, 0, 0], id=1),
        blank(keypoints=[]),
        blank(keypoints=[None, None, 0, None, None, 0, None, None, 0]),
    ]
    data = CocoFrames(written(tmp_path, content(annotations=[*empties, animal, annotation(1, 7)])))
    assert len(data.frames[0]) == data.max_animals == 2
    assert "[None, 1, None, None]" in caplog.text
    caplog.clear()
    strange = [
        annotation(3, 7, area=0),
        annotation(4, 7, bbox=[5, 5, 0, 0]),
        annotation(5, 7, keypoints=[90, 2, 2, *[0] * 6]),
        annotation(6, 7, keypoints=[4, 4, 2] * 3),
    ]
    frame = CocoFrames(written(tmp_path, content(annotations=strange))).frames[0]
    assert np.isnan(frame.areas).tolist() == [True, False, False, False]
    assert np.isnan(frame.boxes_in_image).all(axis=1).tolist() == [False, True, False, False]
    for expected in ("[3] have the area 0", "[4] have a bbox without area", "1 keypoint lies outside", "at one place"):
        assert expected in caplog.text


def test_a_folder_of_images_for_each_part(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        written(tmp_path / part, content(), "_annotations.coco.json")
    parts = {"train": "train/_annotations.coco.json", "val": "valid/_annotations.coco.json"}
    data = CocoFrames(tmp_path, annotations=parts, images={"train": "train", "val": "valid"})
    assert data.stored_split == {"train": ("train/7.png",), "val": ("valid/7.png",)}
    assert data[1].image.shape == (30, 40, 3)
    for images in ("", {"train": "train"}):
        with pytest.raises(DataError, match="images"):
            CocoFrames(tmp_path, annotations=parts, images=images)


def test_images_beside_the_annotations_are_found(tmp_path: Path) -> None:
    root = written(tmp_path, content(), "annotations/person_keypoints_val2017.json", images="val2017")
    path = root / "annotations" / "person_keypoints_val2017.json"
    assert len(CocoFrames.open(path)) == 1


def test_images_elsewhere_are_read_only_where_that_is_said(tmp_path: Path) -> None:
    root = written(tmp_path / "data", content(images=[image(7, file_name="../7.png")]))
    with pytest.raises(DataError, match="follow_links"):
        CocoFrames(root)
    assert CocoFrames(root, follow_links=True)[0].image.shape == (30, 40, 3)
    written(tmp_path / "data", content())
    (root / "7.png").unlink()
    (root / "7.png").symlink_to(tmp_path / "7.png")
    with pytest.raises(DataError, match="follow_links"):
        CocoFrames(root)
    assert len(CocoFrames(root, follow_links=True)) == 1
    (root / "labels.json").rename(tmp_path / "elsewhere.json")
    (root / "labels.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(DataError, match=r"labels.json: it leads out"):
        CocoFrames(root)
    assert len(CocoFrames(root, annotations=str(tmp_path / "elsewhere.json"), follow_links=True)) == 1


@pytest.mark.parametrize("size", [(40, 30), (30, 40)])
def test_turned_photos_are_read_as_their_labels_were_made(
    tmp_path: Path, size: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    root = written(tmp_path, content(images=[image(7, file_name="7.jpg", width=size[1], height=size[0])]))
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # stored lying on its side: 40 wide and 30 high
    PillowImage.new("RGB", (40, 30)).save(root / "7.jpg", exif=exif)
    assert CocoFrames(root)[0].image.shape == (*size, 3)
    assert ("stored turned" in caplog.text) == (size == (30, 40))


def ap10k(*names: str) -> dict[str, Any]:
    """A file as AP-10K's: animals of several categories with one skeleton, boxes, x, y, v in one list."""
    kinds = [
        {"supercategory": "family", "id": number, "name": name, "keypoints": list(AP10K), "skeleton": [[1, 2], [1, 3]]}
        for number, name in enumerate(names, start=1)
    ]
    animals = [
        annotation(number, 7, category_id=number, num_keypoints=2, keypoints=[5, 5, 2] * 2 + [0, 0, 0] * 15)
        for number in range(1, len(names) + 1)
    ]
    return content(categories=kinds, annotations=animals)


def test_the_categories_of_ap10k_are_one_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = CocoFrames(written(tmp_path, ap10k("dog", "cat", "cow")))
    assert (data.skeleton.names, data.skeleton.edges) == (AP10K, ((0, 1), (0, 2)))
    assert len(set(data.skeleton.sigmas)) == 9
    assert len(data.skeleton.pairs) == 7
    assert (len(data.frames[0]), data.frames[0].visibility.sum(axis=1).tolist()) == (3, [4, 4, 4])
    assert "3 categories are read as one kind" in caplog.text
    assert len(CocoFrames(tmp_path, category="cat").frames[0]) == 1


def test_categories_with_different_skeletons_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    coco = ap10k("dog", "cat")
    coco["categories"][1]["skeleton"] = [[4, 5]]
    assert CocoFrames(written(tmp_path, coco)).skeleton.edges == ((0, 1), (0, 2))
    assert "categories differ" in caplog.text
    assert CocoFrames(tmp_path, category="cat").skeleton.edges == ((3, 4),)
