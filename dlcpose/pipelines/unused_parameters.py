"""Find parameters that no output depends on (what DDP calls unused parameters)."""

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def unused_parameters(network: nn.Module, image_size: tuple[int, int]) -> list[str]:
    """Names of the parameters that no output of a network depends on, such as layers of a branch that is not used.

    image_size: (height, width) of an image that the network takes. Nothing is computed: the graph is traced on the meta
    device. Empty for a network that cannot be traced so.
    """
    weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    empty = {name: torch.empty_like(weight, device="meta", requires_grad=True) for name, weight in weights.items()}
    frozen = {name: weight for name, weight in network.named_parameters() if name not in weights}
    values = {**frozen, **dict(network.named_buffers())}
    fixed = {name: torch.empty_like(value, device="meta") for name, value in values.items()}
    images = torch.empty((2, 3, *image_size), device="meta")
    try:
        outputs = torch.func.functional_call(network, {**empty, **fixed}, (images,))
    except (TypeError, ValueError, RuntimeError):  # its forward takes more than images, or depends on values
        return []
    leaves = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.requires_grad]
    whole = torch.stack([leaf.float().sum() for leaf in leaves]).sum()
    gradients = torch.autograd.grad(whole, list(empty.values()), allow_unused=True)
    return [name for name, gradient in zip(empty, gradients, strict=True) if gradient is None]
