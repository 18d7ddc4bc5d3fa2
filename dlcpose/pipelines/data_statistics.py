"""Find the tensors of a model that are statistics of its training data, not weights."""

from torch import nn

from dlcpose.heads.base import Head
from dlcpose.side_heads.base import SideHead


def data_statistics(pipeline: nn.Module) -> frozenset[str]:
    """Names of saved tensors that are statistics of the training data: the heads' own buffers.

    For example the distances between keypoints in the training poses, which are wrong on other data, and may be infinite.
    """
    return frozenset(
        f"{place}.{name}"
        for place, module in pipeline.named_modules()
        if isinstance(module, (Head, SideHead))
        for name, _ in module.named_buffers(recurse=False)
    )
