"""DeepLabCut's figures of a model that it trained itself, beside dlcpose's of the same model, imported, on the same frames.

DeepLabCut trains from random weights and evaluates, by the interpreter of an environment of its own; then the last snapshot
is imported and evaluated here, as by `dlcpose import` and `evaluate.py`. The last fifth of each video is the test part. A
folder that holds a training is not trained again.

    python benchmarks/imported_figures.py --root .../openfield-Pranav-2018-10-30 --deeplabcut ~/deeplabcut/bin/python \
        --folder out --net resnet_50 --epochs 20 [KEY=VALUE ...]

KEY=VALUE are settings of pytorch_config.yaml, values as JSON.
"""

import argparse
import json
import subprocess
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

import dlcpose
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.datasets.splits import block
from dlcpose.importers.imported import write_checkpoint
from dlcpose.importers.source import read_source

NAMES = {"rmse": "dlc_rmse", "rmse_pcutoff": "dlc_rmse_pcutoff", "mAP": "dlc_map", "mAR": "dlc_mar"}  # there, here


def train(arguments: argparse.Namespace) -> None:
    """DeepLabCut's training and evaluation, into the folder."""
    data = DeepLabCutFrames(arguments.root)
    split = block(data, val=0.0, test=0.2)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "split.json").write_text(json.dumps({"train": split.train, "test": split.test}))
    script = Path(__file__).with_name("deeplabcut_training.py")
    command = [arguments.deeplabcut, script, arguments.root, arguments.folder, arguments.net, str(arguments.epochs)]
    subprocess.run([*command, "--snapshots", "1", *arguments.settings], check=True)


def evaluate(folder: Path, part: str, pcutoff: float) -> dict[str, float]:
    """The figures of the snapshot in a folder's project, imported, on its train or test frames."""
    (model,) = (folder / "project").glob("dlc-models-pytorch/*/*")
    checkpoint = folder / "imported.ckpt"
    write_checkpoint(read_source(model), checkpoint)
    overrides = ["dataset=deeplabcut", f"dataset.root={folder / 'project'}", f"frames={part}", "evaluation.pictures=0"]
    overrides += ["metric=default", f"metric.deeplabcut.pcutoff={pcutoff}"]
    return dlcpose.evaluate(checkpoint, *overrides, run_dir=folder / f"evaluation_{part}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--root", type=Path, required=True, help="a DeepLabCut project")
    parser.add_argument("--deeplabcut", type=Path, required=True, help="a Python that has deeplabcut 3")
    parser.add_argument("--folder", type=Path, required=True, help="where the training is kept")
    parser.add_argument("--net", default="resnet_50", help="DeepLabCut's net_type")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_intermixed_args()
    if not (arguments.folder / "points.json").is_file():
        train(arguments)
    (results,) = arguments.folder.glob("project/**/CombinedEvaluation-results.csv")
    theirs = pd.read_csv(results).iloc[-1]
    table = Table("frames", "figure", "DeepLabCut", "dlcpose")
    for part in ("train", "test"):
        ours = evaluate(arguments.folder, part, float(theirs["pcutoff"]))
        for their_name, our_name in NAMES.items():
            table.add_row(part, their_name, f"{theirs[f'{part} {their_name}']:.2f}", f"{ours[our_name]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
