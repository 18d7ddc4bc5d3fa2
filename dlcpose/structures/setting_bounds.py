"""Bounds of the numbers in a config, by the name of the setting: one name means one thing in all of our parts.

What lies outside would otherwise be reported late, after the training, or never: maps of a sigma below 0 are empty.
"""

from dlcpose.structures.checked_values import is_number

MAX_NUMBER = 1e6
MAY_BE_NEGATIVE = frozenset({"pixel_shift", "bin_shift", "level", "min_affinity"})
POSITIVE = frozenset(
    {
        *("sigma", "center_sigma", "radius", "offset_radius", "field_width", "offset_std", "temperature", "factor"),
        *("channels", "offset_channels", "stage_channels", "last_channels", "width", "height", "attended", "expansion"),
        *("heads", "num_heads", "layers", "samples", "max_animals", "longest_side", "shortest_side", "bins_per_pixel"),
        *("batch_size", "patience", "every_n_epochs", "frames", "videos", "animals", "tries", "trials", "window"),
        *("accumulate_grad_batches", "check_val_every_n_epoch"),
        *("deepen", "widen", "max_distance_std", "map_stride", "output_stride", "overfit", "animal_length"),
    }
)
REAL = frozenset(
    {"sigma", "center_sigma", "radius", "offset_radius", "field_width", "offset_std", "temperature", "factor"}
)
SHARES = frozenset(
    {
        *("confidence", "pcutoff", "threshold", "nms_iou", "nms_threshold", "min_oks", "p"),
        *("dropout", "drop_path", "decay", "warmup", "around", "absent", "background", "miss", "swap"),
        *("inversion", "occlusion", "closing_share"),
    }
)
# Of other packages' settings most may be infinite where there is no bound; these divide.
OF_OTHERS = frozenset({"accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"})
CHECKED_TOGETHER = frozenset({"val", "test"})  # by the split, which says what is left to train on
MOST = {"workers": 512, "seed": 2**32 - 1, "batch_size": 65_536, "deconvolutions": 8, "frames": 10_000_000}


def outside_bounds(name: str, value: object) -> str | None:
    """What was expected of a number of this name, None where it is within its bounds, or no number at all."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not is_number(value):
        return "a finite number"
    if name in CHECKED_TOGETHER:
        return None
    most = 1.0 if name in SHARES else MOST.get(name, MAX_NUMBER)
    if value > most:
        return f"at most {most:g}"
    if name in MAY_BE_NEGATIVE:
        return None if value >= -MAX_NUMBER else f"at least {-MAX_NUMBER:g}"
    if value < 0 or (value == 0 and name in POSITIVE):
        if name not in POSITIVE:
            return "at least 0"
        return "at least 1" if isinstance(value, int) and name not in REAL else "a number above 0"
    return None
