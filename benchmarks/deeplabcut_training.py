"""DeepLabCut's own training on given frames, for time_to_accuracy.py and imported_figures.py, which call it by a Python that
has deeplabcut 3.

    python benchmarks/deeplabcut_training.py PROJECT FOLDER NET EPOCHS [--snapshots N] [KEY=VALUE ...]

FOLDER holds split.json, the keys of "train" and "test" frames; KEY=VALUE are further settings of pytorch_config.yaml, values
as JSON. points.json is written there: seconds, images, and the mean error on the test frames (what DeepLabCut calls RMSE) and
their OKS AP (mAP) of each snapshot, at most N of them.
"""

import argparse
import json
import shutil
import time
from pathlib import Path


def main() -> None:
    """Train and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("net")
    parser.add_argument("epochs", type=int)
    parser.add_argument("--snapshots", type=int, default=20)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    project, folder, epochs = arguments.project, arguments.folder, arguments.epochs
    changes = {key: json.loads(value) for key, value in (each.split("=", 1) for each in arguments.settings)}
    import deeplabcut
    import pandas as pd
    import timm
    from deeplabcut.generate_training_dataset import merge_annotateddatasets
    from deeplabcut.utils import auxiliaryfunctions

    # DeepLabCut fetches ImageNet weights for every training that starts from no snapshot, whatever its config says.
    create_model = timm.create_model
    timm.create_model = lambda *names, **choices: create_model(*names, **{**choices, "pretrained": False})
    copy = folder / "project"
    shutil.copytree(project, copy)
    config = str(copy / "config.yaml")
    auxiliaryfunctions.edit_config(config, {"project_path": str(copy), "engine": "pytorch"})
    settings = auxiliaryfunctions.read_config(config)
    training_set = copy / auxiliaryfunctions.get_training_set_folder(settings)
    training_set.mkdir(parents=True, exist_ok=True)
    frames = merge_annotateddatasets(settings, training_set)
    keys = ["/".join(name) if isinstance(name, tuple) else str(name) for name in frames.index]
    split = json.loads((folder / "split.json").read_text())
    train, test = ([keys.index(key) for key in split[part]] for part in ("train", "test"))
    share = round(len(train) / (len(train) + len(test)), 2)  # it finds a split by its share of train frames
    auxiliaryfunctions.edit_config(config, {"TrainingFraction": [share]})
    deeplabcut.create_training_dataset(
        config, Shuffles=[1], trainIndices=[train], testIndices=[test], net_type=arguments.net, userfeedback=False
    )
    every = max(1, epochs // arguments.snapshots)
    began = time.time()
    deeplabcut.train_network(
        config,
        shuffle=1,
        epochs=epochs,
        save_epochs=every,
        max_snapshots_to_keep=10 * arguments.snapshots,
        pytorch_cfg_updates={
            "runner.eval_interval": 10 * epochs,
            **changes,
        },
    )
    ended = {path.stem: path.stat().st_mtime - began for path in copy.rglob("snapshot-*.pt")}
    deeplabcut.evaluate_network(config, Shuffles=[1], snapshotindex="all", show_errors=False)
    (results,) = copy.rglob("CombinedEvaluation-results.csv")
    table = pd.read_csv(results)
    points = []
    for _, row in table.iterrows():
        epoch = int(row["Training epochs"])
        seconds = next(value for name, value in ended.items() if int(name.rsplit("-", 1)[1]) == epoch)
        figures = {"mean_error_px": float(row["test rmse"]), "oks_ap": float(row["test mAP"]) / 100}
        points.append({"seconds": seconds, "images": epoch * len(train), **figures})
    points.sort(key=lambda point: point["images"])
    (folder / "points.json").write_text(json.dumps(points))


if __name__ == "__main__":
    main()
