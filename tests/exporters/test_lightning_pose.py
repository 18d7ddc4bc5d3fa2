"""What is written for Lightning Pose, as it reads a label csv itself: by pandas, three header rows and an index."""

from pathlib import Path

import numpy as np
import pandas as pd

from dlcpose.exporters.lightning_pose import write_lightning_pose
from dlcpose.structures.sample import labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.exporters.label_sets import DrawnFrames


def test_pandas_reads_the_labels(tmp_path: Path) -> None:
    points = np.array([[[1.123456789, 2], [np.nan, np.nan]]])
    seen = labels_of("cage.mp4/000004", (6, 8), points, video="cage.mp4", frame_index=4)
    hidden = labels_of("p/a.png", (6, 8), points, video="p", frame_index=0, visibility=np.array([[1, 0]]))
    empty = labels_of("p/b.png", (6, 8), points[:0], video="p", frame_index=1)
    for name, frames, coordinates in (
        ("plain", [seen, empty], ["x", "y"]),
        ("hidden", [seen, hidden, empty], ["x", "y", "visible"]),
    ):
        write_lightning_pose(DrawnFrames(frames, Skeleton(("nose", "tail"))), tmp_path / name)
        table = pd.read_csv(tmp_path / name / "CollectedData.csv", header=[0, 1, 2], index_col=0)
        assert list(table.columns.get_level_values("coords")) == coordinates * 2
        assert all((tmp_path / name / key).is_file() for key in table.index)
        row = table.loc["labeled-data/cage/img0004.png"].to_numpy().reshape(2, -1)
        np.testing.assert_array_equal(row[:, :2], points[0])
        assert (tmp_path / name / "videos").is_dir()
    values = table.to_numpy().reshape(3, 2, 3)
    assert values[:, :, 2].tolist() == [[2, 0], [1, 0], [0, 0]]
