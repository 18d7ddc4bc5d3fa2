"""Predictions as a long csv: a row for each keypoint of each animal in each frame."""

from pathlib import Path

import pandas as pd

from dlcpose.exporters.formats import TableTarget, table_format
from dlcpose.exporters.tidy import tidy_columns
from dlcpose.structures.atomic_files import atomic_output
from dlcpose.structures.pose_tracks import PoseTracks


@table_format("csv", suffix=".csv", leaves_out=("boxes", "scores of the animals", "identities"), names_scorer=False)
def write_csv(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}.csv` with the columns frame, time, individual, keypoint, x, y, score; missing places are empty.

    Coordinates have the digits that float32 has. A unique keypoint's individual is empty.
    """
    path = target.path(".csv")
    with atomic_output(path) as partial:
        pd.DataFrame(tidy_columns(tracks)).to_csv(partial, index=False)
    return [path]
