"""The head of DeepLabCut's tables: scorer, individuals where there are any, bodyparts, coords; unique keypoints last."""

from collections.abc import Sequence

import pandas as pd

from dlcpose.datasets.deeplabcut_config import UNIQUE_INDIVIDUAL
from dlcpose.structures.errors import DataError
from dlcpose.structures.skeleton import Skeleton

LABELS = ("x", "y")
PREDICTIONS = ("x", "y", "likelihood")


def table_columns(
    scorer: str,
    individuals: Sequence[str] | None,
    names: Sequence[str],
    unique: Sequence[str],
    coords: Sequence[str],
) -> pd.MultiIndex:
    """The columns of a table. individuals: None for a single-animal table, which has no row for them and no unique ones."""
    if individuals is None:
        return pd.MultiIndex.from_product([[scorer], names, coords], names=["scorer", "bodyparts", "coords"])
    owners = [(individual, name) for individual in individuals for name in names]
    owners += [(UNIQUE_INDIVIDUAL, name) for name in unique]
    return pd.MultiIndex.from_tuples(
        [(scorer, individual, name, coord) for individual, name in owners for coord in coords],
        names=["scorer", "individuals", "bodyparts", "coords"],
    )


def check_individuals_apart(individuals: Sequence[str], skeleton: Skeleton, where: str) -> None:
    """Raise DataError where an animal has the name that DeepLabCut keeps for unique keypoints, and there are such."""
    if skeleton.unique and UNIQUE_INDIVIDUAL in individuals:
        raise DataError(
            f"{where}: an individual is called {UNIQUE_INDIVIDUAL!r}, the name DeepLabCut keeps for unique keypoints. "
            "Rename the individual."
        )
