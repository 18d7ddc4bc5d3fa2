"""What libraries say of themselves, silenced."""

import logging
import os
import warnings

# Each is a warning of Lightning's about what is meant so here.
IGNORED = (
    ".*does not have many workers.*",
    ".*log_every_n_steps.*",
    ".*exists and is not empty.*",
    ".*in eval mode at the start of training.*",  # frozen parts
    ".*ended before the epoch ended.*",  # PoseDataModule knows where
    ".*logging on epoch level in distributed.*",  # figures are gathered already
)


def quiet_libraries() -> None:
    """Silence what libraries say of themselves, not what they say of the run."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in IGNORED:
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=FutureWarning)
