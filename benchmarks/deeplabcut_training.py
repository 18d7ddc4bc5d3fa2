"""DeepLabCut's own training on given frames, for time_to_accuracy.py, which calls it by a Python that has deeplabcut 3.

    python benchmarks/deeplabcut_training.py PROJECT FOLDER NET EPOCHS

FOLDER holds split.json, the keys of "train" and "test" frames; points.json is written there: seconds, images and the mean
error on the test frames (what DeepLabCut calls RMSE) of each snapshot, at most 20 of them.
"""

import json
import shutil
import sys
import time
from pathlib import Path

SNAPSHOTS = 20


def main() -> None:
    """Train and evaluate."""
    project, folder, net, epochs = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    import deeplabcut
    import pandas as pd
    from deeplabcut.generate_training_dataset import merge_annotateddatasets
    from deeplabcut.utils import auxiliaryfunctions

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
    deeplabcut.create_training_dataset(
        config, Shuffles=[1], trainIndices=[train], testIndices=[test], net_type=net, userfeedback=False
    )
    every = max(1, epochs // SNAPSHOTS)
    began = time.time()
    deeplabcut.train_network(
        config,
        shuffle=1,
        epochs=epochs,
        save_epochs=every,
        max_snapshots_to_keep=10 * SNAPSHOTS,
        pytorch_cfg_updates={"model.backbone.pretrained": False, "runner.eval_interval": 10 * epochs},
    )
    ended = {path.stem: path.stat().st_mtime - began for path in copy.rglob("snapshot-*.pt")}
    deeplabcut.evaluate_network(config, Shuffles=[1], snapshotindex="all", show_errors=False)
    (results,) = copy.rglob("CombinedEvaluation-results.csv")
    table = pd.read_csv(results)
    points = []
    for _, row in table.iterrows():
        epoch = int(row["Training epochs"])
        seconds = next(value for name, value in ended.items() if int(name.rsplit("-", 1)[1]) == epoch)
        points.append({"seconds": seconds, "images": epoch * len(train), "mean_error_px": float(row["test rmse"])})
    points.sort(key=lambda point: point["images"])
    (folder / "points.json").write_text(json.dumps(points))


if __name__ == "__main__":
    main()
