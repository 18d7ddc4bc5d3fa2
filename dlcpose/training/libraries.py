"""Silence libraries' messages that do not concern the run."""

import logging
import os
import warnings

# Warnings of Lightning about what is intended here.
IGNORED = (
    ".*does not have many workers.*",
    ".*log_every_n_steps.*",
    ".*exists and is not empty.*",
    ".*in eval mode at the start of training.*",  # frozen parts
    ".*ended before the epoch ended.*",  # PoseDataModule resumes within epochs
    ".*logging on epoch level in distributed.*",  # figures are gathered already
    ".*could not find the monitored key.*",  # no validation frames, as the plan of the run says
    ".*across ranks is zero.*",  # the same
)


def quiet_libraries() -> None:
    """Silence libraries' tips and version notes, and Lightning's warnings above."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.loggers.mlflow").setLevel(logging.ERROR)  # it warns of each new experiment
    for message in IGNORED:
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=FutureWarning)
