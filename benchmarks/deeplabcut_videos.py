"""DeepLabCut's own analysis of videos, for analyze_videos.py, which calls it by a Python that has deeplabcut 3.

    python benchmarks/deeplabcut_videos.py CONFIG OUTPUT BATCH VIDEO...

CONFIG is config.yaml of a project with a trained shuffle 1. OUTPUT, a json, gets the seconds of each video, from the call of
`analyze_videos` to its return.
"""

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    """Analyze, one video after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("output", type=Path)
    parser.add_argument("batch", type=int)
    parser.add_argument("videos", nargs="+")
    arguments = parser.parse_args()
    import deeplabcut

    seconds = []
    for video in arguments.videos:
        began = time.perf_counter()
        deeplabcut.analyze_videos(arguments.config, [video], shuffle=1, batch_size=arguments.batch, overwrite=True)
        seconds.append(time.perf_counter() - began)
    arguments.output.write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
