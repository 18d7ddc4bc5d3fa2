"""Folders as a sweep leaves them, without training: what is compared is known."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dlcpose.metrics.base import infos_of
from dlcpose.metrics.counts import Counts
from dlcpose.metrics.oks import ObjectKeypointSimilarity
from dlcpose.metrics.pck import PercentageOfCorrectKeypoints
from dlcpose.metrics.pixel_error import PixelError

MODELS = {"resnet_18": (4.0, 11.2), "dekr_w18": (3.2, 30.1), "hrnet_w32": (2.9, 28.5)}  # error in px, million weights
RATES = (0.001, 0.0003)
METRICS = (PixelError(), PercentageOfCorrectKeypoints(), ObjectKeypointSimilarity(), Counts())
INFOS = infos_of({str(place): metric for place, metric in enumerate(METRICS)})


def error_of(model: str, rate: float, seed: int) -> float:
    """What the made-up run of these settings reached, in px."""
    return MODELS[model][0] + (0.6 if rate == RATES[1] else 0.0) + 0.1 * seed


def made_up_run(folder: Path, model: str, rate: float, seed: int, **changes: Any) -> Path:
    """A run folder: run.json, metrics.csv of 10 epochs, evaluation/metrics.json and metrics_info.json."""
    error = error_of(model, rate, seed)
    entry = {
        "status": "finished",
        "config": {
            **{"name": model, "seed": seed, "optimized_metric": "val/mean_error_px"},
            "best": {"monitor": "val/mean_error_px"},
            "optimizer": {"_target_": "torch.optim.AdamW", "lr": rate},
            "backbone": {"name": model.split("_")[0]},
            "trainer": {"max_epochs": 10},
            "datamodule": {"seed": seed},
        },
        "choices": {"model": model, "optimizer": "adamw"},
        "overrides": ["sweep.name=made_up", f"model={model}", f"optimizer.lr={rate}", f"seed={seed}"],
        "began": 1e9,
        "finished": 1e9 + 60,
        "seconds": 60.0 * MODELS[model][1] / 10 + seed,
        "epochs": 10,
        "parameters": int(MODELS[model][1] * 1e6),
        "training_images_per_s": 900 / MODELS[model][1],
        "evaluated": True,
        "optimized_metric": {"val/mean_error_px": error},
        **changes,
    }
    (folder / "evaluation").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(entry))
    rows = ["epoch,step,train/loss,val/loss,val/mean_error_px"]
    for epoch in range(10):
        falling = math.exp(-epoch / (2.5 if rate == RATES[0] else 4))
        rows.append(f"{epoch},{10 * epoch + 9},{0.4 * falling + 0.01 * error},,")
        rows.append(f"{epoch},{10 * epoch + 9},,{0.45 * falling + 0.012 * error},{error + 60 * falling}")
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    if entry["status"] == "finished":
        figures = {"mean_error_px": error + 0.25, "pck@0.1": 1 - error / 20, "oks_ap": None, "peak_memory_mb": 900.0}
        (folder / "evaluation" / "metrics.json").write_text(
            json.dumps({**figures, "false_negatives": 0, "false_positives": 1})
        )
        (folder / "evaluation" / "metrics_info.json").write_text(
            json.dumps({name: asdict(info) for name, info in INFOS.items()})
        )
        (folder / "evaluation" / "report.html").write_text("<p>report</p>")
    return folder


def made_up_sweep(folder: Path) -> Path:
    """3 models at 2 rates with 2 seeds each: 12 runs."""
    for model in MODELS:
        for rate in RATES:
            for seed in (0, 1):
                made_up_run(folder / f"model-{model}__optimizer.lr-{rate}__seed-{seed}", model, rate, seed)
    return folder
