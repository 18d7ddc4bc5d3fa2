"""Predictions as a parquet file: tidy columns, with the video and the skeleton in the file's metadata."""

import io
import json
from pathlib import Path

from dlcpose.exporters.formats import TableTarget, provenance, table_format
from dlcpose.exporters.tidy import tidy_columns
from dlcpose.structures.atomic_files import write_output
from dlcpose.structures.pose_tracks import PoseTracks

METADATA = b"dlcpose"


@table_format(
    "parquet",
    suffix=".parquet",
    needs=("pyarrow",),
    extra="tables",
    leaves_out=("boxes", "scores of the animals", "identities"),
)
def write_parquet(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}.parquet` with the columns frame, time, individual, keypoint, x, y, score.

    Missing coordinates are null, as is the individual of a unique keypoint. The metadata's `dlcpose` is a json object
    of where the poses come from, the skeleton, the individuals and the scorer.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(values, from_pandas=True) for name, values in tidy_columns(tracks).items()}
    for name in ("individual", "keypoint"):
        columns[name] = columns[name].cast(pa.string()).dictionary_encode()
    about = {
        **provenance(tracks),
        "skeleton": tracks.skeleton.as_dict(),
        "individuals": list(tracks.individuals),
        "scorer": target.scorer,
    }
    table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(about).encode()})
    path, content = target.path(".parquet"), io.BytesIO()
    pq.write_table(table, content)
    write_output(path, content.getbuffer())
    return [path]
