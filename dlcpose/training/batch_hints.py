"""What a run whose batches are too small for its networks should ask for."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dlcpose.structures.errors import ConfigError

# As torch's batch-norm says it, where a layer sees one cell of one frame.
SINGLE = re.compile(r"Expected more than 1 value per channel when training")


@contextmanager
def explaining_batches(config: Mapping[str, Any]) -> Iterator[None]:
    """Training within which batch-norm's refusal of a single value becomes a ConfigError that says what to take."""
    try:
        yield
    except ValueError as error:
        if not SINGLE.search(str(error)):
            raise
        size = config["datamodule"]["batch_size"]
        few = f"datamodule.batch_size={size}" if size == 1 else "a batch of one frame"
        displacement = "datamodule.batch_size=2 or more" if size == 1 else "more frames to train on"
        raise ConfigError(
            f"{few}: a layer of this model normalises over its batch, and sees a single value there, of which there is no "
            f"spread. Take {displacement}."
        ) from error
