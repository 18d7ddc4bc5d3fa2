"""Tables of predictions as DeepLabCut itself writes them, by pandas alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

SCORER = "DLC_Resnet50_miceOct30shuffle1_snapshot_best-50"
BODYPARTS = ("nose", "left ear", "right ear")


def deeplabcut_table(
    frames: Sequence[int],
    individuals: Sequence[str] | None = None,
    unique: Sequence[str] = (),
    *,
    scorer: str = SCORER,
    seed: int = 0,
) -> pd.DataFrame:
    """Random predictions within 60 px; without individuals the head has no row for them."""
    if individuals is None:
        columns = [(scorer, name, coord) for name in BODYPARTS for coord in ("x", "y", "likelihood")]
        names = ["scorer", "bodyparts", "coords"]
    else:
        owners = [(each, name) for each in individuals for name in BODYPARTS] + [("single", name) for name in unique]
        columns = [(scorer, *owner, coord) for owner in owners for coord in ("x", "y", "likelihood")]
        names = ["scorer", "individuals", "bodyparts", "coords"]
    values = np.random.default_rng(seed).uniform(0, 60, (len(frames), len(columns)))
    values[:, 2::3] /= 60
    return pd.DataFrame(values, columns=pd.MultiIndex.from_tuples(columns, names=names), index=list(frames))


def saved(table: pd.DataFrame, path: Path, key: str = "df_with_missing") -> Path:
    """The table as an h5 or a csv, by the name's ending, as DeepLabCut calls pandas."""
    if path.suffix == ".csv":
        table.to_csv(path)
    else:
        table.to_hdf(path, key=key, format="table", mode="w")
    return path
