"""What the commands on each page of the docs find in the folder they are run in: tiny data, videos, poses, models."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import timm
import torch

from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.datasets.video import fingerprint
from dlcpose.exporters.coco import write_coco_dataset
from dlcpose.exporters.deeplabcut import write_deeplabcut_project
from dlcpose.exporters.pose_file import Provenance, read_pose_tracks, write_pose_tracks
from dlcpose.exporters.pose_tables import write_tables
from dlcpose.structures.pose_tracks import VideoInfo
from dlcpose.tracking.corrections import Corrections, corrections_as_dict, tracks_digest
from dlcpose.visualization.video_file import write_video
from tests.importers import layouts
from tests.importers.foreign_tables import deeplabcut_table, saved
from tests.importers.test_published import deconvolution_head, fuses_elsewhere, state_of
from tests.model_formats.made_up_checkpoints import part_affinity, write_checkpoint
from tests.shells import SMALL, TINY, shell
from tests.test_docs_extending import FILES as PARTS_OF_EXTENDING
from tests.tracking.noisy_poses import noisy_poses, rendered_frames, rendered_ground_truth

SIDE = 64
SMALL_CROPS = (f"input.height={SIDE}", f"input.width={SIDE}")  # where a model would see 256x256
ONE_STEP = (*SMALL, "evaluation.pictures=0", "logger=[csv]")
# Models that find animals once they are sure (`make_sure`).
SURE_BOTTOM_UP = ("model=bottom_up_resnet_50", *TINY[:2], "head.min_affinity=-10", "head.max_animals=4")
SURE_CONDITIONAL = ("model=ctd_prenet_hrnet_w32", *SMALL_CROPS, *TINY, "neck=fpn", "pipeline.crops.threshold=0.0")


def make_scene(page: str, folder: Path) -> None:
    """Fill a folder with what the commands of a page name; KeyError where that is not written down yet."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        SCENES[page](folder)


def prepare(command: str, folder: Path) -> None:
    """What one command needs otherwise than the others on its page."""
    if "predict" in command:
        for result in folder.glob("*.poses.h5"):  # of other settings, which are never overwritten
            result.unlink()
    if "--start 1000" in command:
        video(folder / "cage1.mp4", 1005, size=(544, 768))
    for said, made in {"dlcpose export": "model.onnx", "convert labels.v001.slp my-project": "my-project"}.items():
        if said in command and (folder / made).exists():
            (folder / made).rename(folder / "moved")
    # `...` stands for another run on each line.
    for said, checkpoint in {"detector.checkpoint=outputs/.../ch": "detector", "--conditional outputs": "ctd"}.items():
        if said in command:
            shutil.copy(folder / f"{checkpoint}.ckpt", folder / "outputs" / "..." / "checkpoints" / "best.ckpt")


def run(script: str, *arguments: str) -> None:
    answer = shell(script, *arguments)
    assert answer.code == 0, (script, arguments, answer.err)


def trained(path: Path, *overrides: str) -> None:
    """The best checkpoint of a run of two steps, with its run.json where it is put into a folder as a run leaves it."""
    run("train.py", *overrides, *ONE_STEP, "hydra.run.dir=just_now")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("just_now/checkpoints/best.ckpt", path)
    if path.parent.name == "checkpoints":
        shutil.copy("just_now/run.json", path.parents[1])
    shutil.rmtree("just_now")


def make_sure(path: Path) -> None:
    """Give the last layers of a checkpoint's heads weights that find something in any image, as two steps teach nothing.

    The checkpoint of a conditional model holds the model of its conditions, which is made sure as well.
    """
    content = torch.load(path, weights_only=True)
    torch.manual_seed(1)
    for name, value in content["state_dict"].items():
        if re.search(r"(^|\.)head\.", name) and "offset" not in name:
            if name.endswith(".weight"):
                torch.nn.init.normal_(value, std=0.3)
            elif name.endswith(".bias"):
                torch.nn.init.zeros_(value)
    torch.save(content, path)


def frames(count: int, animals: int = 1, size: tuple[int, int] = (SIDE, SIDE)) -> SyntheticFrames:
    height, width = size
    return SyntheticFrames(frames=count, animals=animals, videos=2, height=height, width=width)


def video(path: Path, count: int = 8, animals: int = 1, size: tuple[int, int] = (SIDE, SIDE)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = frames(8, animals, size)
    images = [data.read_image(index) for index in range(8)]
    write_video(path, (images[index % 8] for index in range(count)), fps=25)


def poses(folder: Path, name: str, animals: int, count: int = 40) -> None:
    """NAME.mp4, poses in it, and with several animals tracks of them and corrections of these, which correct nothing."""
    video(folder / f"{name}.mp4", count, animals)
    truth = rendered_ground_truth(animals=animals, frames=count, height=SIDE, width=SIDE)
    found = replace(noisy_poses(truth, spare=animals - 1).poses, is_tracked=animals == 1)
    film = VideoInfo(f"{name}.mp4", fingerprint(Path(f"{name}.mp4")), SIDE, SIDE, count, 25.0)
    write_pose_tracks(f"{name}.poses.h5", replace(found, video=film), Provenance(checkpoint="best.ckpt"))
    if animals > 1:
        run("dlcpose/cli/app.py", "track", f"{name}.poses.h5", "--animals", str(animals))
        correct_nothing(Path(f"{name}.tracks.poses.h5"))


def correct_nothing(path: Path) -> None:
    """A corrections.json for tracks, as the page of a review saves it."""
    tracks = read_pose_tracks(path)
    nothing = Corrections(tracks.video.fingerprint, tracks_digest(tracks), ())
    Path("corrections.json").write_text(json.dumps(corrections_as_dict(nothing)), encoding="utf-8")


def readme(folder: Path) -> None:
    _data_of_the_readme(folder)
    _models_of_the_readme(folder)
    poses(folder, "cage1", animals=4)
    predicted_by_deeplabcut(folder, "cage2", ".h5", "50")
    for name in "abc":
        poses(folder, name, animals=1)
    for name, content in PARTS_OF_EXTENDING.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "mylab" / "experiment").mkdir()
    (folder / "mylab" / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 3\n")
    (folder / "mylab_heads.py").touch()


def _data_of_the_readme(folder: Path) -> None:
    data = frames(24)
    write_deeplabcut_project(data, folder / "my-project-2026-01-01")
    write_deeplabcut_project(data, folder / "my-project")
    write_deeplabcut_project(frames(24, animals=2), folder / "two-mice-2026-01-01")
    write_coco_dataset(data, folder / "photos")
    _both_kinds(data, folder / "...")
    run("dlcpose/cli/app.py", "convert", "my-project-2026-01-01", "labels.v001.slp")
    for name in ("cage1.mp4", "cage2.mp4", "mouse.mp4", "videos/a.mp4", "more/b.avi"):
        video(folder / name)
    for name in ("flies.mp4", "video.mp4"):
        video(folder / name, animals=2)
    (folder / "labeled-data").mkdir()
    for number in (1, 2):
        cv2.imwrite(f"frame{number}.png", data.read_image(number)[..., ::-1])
    for number in range(4):
        cv2.imwrite(f"labeled-data/{number}.png", data.read_image(number)[..., ::-1])


def _both_kinds(data: SyntheticFrames, folder: Path) -> None:
    """`...` is a project on one line and COCO data on the next."""
    write_deeplabcut_project(data, folder)
    write_coco_dataset(data, folder.parent / "as_coco")
    for part in (folder.parent / "as_coco").iterdir():
        part.rename(folder / part.name)


def _models_of_the_readme(folder: Path) -> None:
    best = folder / "outputs" / "..." / "checkpoints" / "best.ckpt"
    trained(best, *TINY)
    for name in ("best.ckpt", "single.ckpt"):
        shutil.copy(best, folder / name)
    run("dlcpose/cli/app.py", "export", "--checkpoint", "best.ckpt", "--format", "onnx", "--output", "model.onnx")
    trained(folder / "top_down.ckpt", "model=top_down_resnet_18", *TINY, *SMALL_CROPS)
    trained(folder / "detector.ckpt", "model=detection", "detector=centernet", *TINY[:2])
    sure_models(best.parents[1] / "best.ckpt", folder / "ctd.ckpt")
    run("train.py", *ONE_STEP, *TINY, "name=mice")
    run("train.py", "-m", *ONE_STEP, *TINY, "sweep.name=first", "seed=0,1")
    layouts.write(folder / "my-project" / "dlc-models-pytorch" / "iteration-0" / "...shuffle1")
    network = timm.create_model("hrnet_w32", features_only=True, feature_location="")
    head = {"final_layer": deconvolution_head(32, 17, 0)["final_layer"]}
    weights = state_of(network, head, "keypoint_head.")
    weights = {name: value for name, value in weights.items() if not fuses_elsewhere(name)}
    torch.save({"state_dict": weights}, "hrnet_w32_ap10k_256x256-18aac840_20211029.pth")


def sure_models(bottom_up: Path, conditional: Path) -> None:
    trained(bottom_up, *SURE_BOTTOM_UP, "dataset.animals=2")
    make_sure(bottom_up)
    conditioned = ("detector=pose_boxes", f"detector.checkpoint={bottom_up}", "dataset.animals=2")
    trained(conditional, *SURE_CONDITIONAL, *conditioned)
    make_sure(conditional)


def conditional_top_down(folder: Path) -> None:
    _both_kinds(frames(24, animals=2), folder / "...")
    video(folder / "video.mp4", animals=2)
    bottom_up = Path("bottom_up/best.ckpt")
    sure_models(bottom_up, Path("ctd/best.ckpt"))
    run("dlcpose/cli/app.py", "track", "video.mp4", "--conditional", "ctd/best.ckpt", "--animals", "4")
    correct_nothing(Path("video.tracks.poses.h5"))
    for made in folder.glob("video.*.poses.h5"):  # the page's own commands are to make them
        made.unlink()
    kept = Path("outputs/bottom_up_resnet_50/...")
    kept.mkdir(parents=True)
    shutil.copy(bottom_up, kept)
    trained(Path("outputs/crowd_bottom_up/DATE/TIME/checkpoints/best.ckpt"), "experiment=crowd_bottom_up", *TINY[:2])


def data(folder: Path) -> None:
    root = folder / "coco"
    (root / "annotations").mkdir(parents=True)
    for part in ("train", "val"):
        write_coco_dataset(frames(12), root / f"{part}2017")
        (labels,) = (root / f"{part}2017").glob("*.json")
        labels.rename(root / "annotations" / f"person_keypoints_{part}2017.json")


def large(folder: Path) -> None:
    for name in ("cage1", "cage2"):
        video(folder / "videos" / f"{name}.mp4")
    trained(folder / "best.ckpt", *TINY)


def many_animals(folder: Path) -> None:
    _both_kinds(frames(24, animals=2), folder / "...")
    write_deeplabcut_project(frames(24, animals=2), folder / "..." / "flypair24-SLEAP-2024-12-20")
    trained(folder / "..." / "best.ckpt", "model=detection", "detector=centernet", *TINY[:2])


def many_devices(folder: Path) -> None:
    run("train.py", *ONE_STEP, *TINY, "name=mice")


def postprocessing(folder: Path) -> None:
    poses(folder, "cage", animals=1, count=1010)
    for name in "abc":
        poses(folder, name, animals=1)
    write_deeplabcut_project(rendered_frames(animals=1, frames=8), folder / "PROJECT")


def tables(folder: Path) -> None:
    poses(folder, "cage", animals=1)
    (folder / "results").mkdir()
    for suffix in ("mp4", "poses.h5"):
        shutil.copy(f"cage.{suffix}", "results")
    predicted_by_deeplabcut(folder, "pen", ".h5")
    predicted_by_deeplabcut(folder, "old", ".csv")
    (folder / "old.mp4").unlink()
    video(folder / "videos" / "flies.mp4", 40, 2)
    truth = noisy_poses(rendered_ground_truth(animals=2, frames=40, height=SIDE, width=SIDE)).poses
    film = replace(truth.video, path="flies.mp4")
    write_tables(replace(truth, video=film), folder, formats=["sleap"])


def predicted_by_deeplabcut(folder: Path, name: str, ending: str, scorer_end: str = "best-50") -> None:
    """A video of 8 frames, and beside it the table of one animal that DeepLabCut would have written."""
    video(folder / f"{name}.mp4")
    scorer = f"DLC_Resnet50_miceOct30shuffle1_snapshot_{scorer_end}"
    saved(deeplabcut_table(range(8), scorer=scorer), folder / f"{name}{scorer}{ending}")


def tracking(folder: Path) -> None:
    poses(folder, "cage", animals=4)
    (folder / "scenes" / "checkpoints").mkdir(parents=True)
    finds_anything, data = part_affinity(), rendered_frames(animals=2, frames=4, height=SIDE, width=SIDE)
    write_checkpoint(folder / "scenes" / "checkpoints" / "best.ckpt", finds_anything, data)


SCENES: dict[str, Callable[[Path], None]] = {
    "README.md": readme,
    "conditional_top_down.md": conditional_top_down,
    "data.md": data,
    "large.md": large,
    "many_animals.md": many_animals,
    "many_devices.md": many_devices,
    "postprocessing.md": postprocessing,
    "tables.md": tables,
    "tracking.md": tracking,
}
