"""dlcpose: a research framework for animal pose estimation.

    predictor = dlcpose.load("outputs/.../checkpoints/best.ckpt")
    poses = predictor.predict(["frame.png"])

Names are imported when first used, so that `import dlcpose` is quick.
"""

import importlib

TYPE_CHECKING = False  # typing itself takes so long to import that Ctrl-C meanwhile would often be a traceback
if TYPE_CHECKING:
    from typing import Any

    from dlcpose.api import evaluate, train
    from dlcpose.config.models import available_models
    from dlcpose.predict import load
    from dlcpose.project import PoseDataset, Project
    from dlcpose.structures.errors import DlcposeError

_HOMES = {
    "available_models": "dlcpose.config.models",
    "train": "dlcpose.api",
    "evaluate": "dlcpose.api",
    "load": "dlcpose.predict",
    "Project": "dlcpose.project",
    "PoseDataset": "dlcpose.project",
    "DlcposeError": "dlcpose.structures.errors",
}
__all__ = ["DlcposeError", "PoseDataset", "Project", "available_models", "evaluate", "load", "train"]


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module 'dlcpose' has no attribute {name!r}")
    if name != "DlcposeError":  # which may be imported to catch what this raises
        from dlcpose.structures.environment import check_environment

        check_environment()
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
