"""Fold batch norms into the convolutions before them: in prediction both are one linear map of the features."""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)  # not their subclasses, which may do something else with their weights


def fold_batch_norms(model: nn.Module) -> int:
    """Fold, in place, each batch norm that is all that reads a convolution's output; returns how many there were.

    The outputs are the same but for rounding: w' = w·γ/√(σ²+ε), b' = (b-μ)·γ/√(σ²+ε) + β. model: in evaluation mode, not to
    be trained further. Who reads what is taken from the graph of each module's own `forward`; where that has none, because it
    branches on values, or where hooks are waiting, its norms stay.
    """
    owners = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    count = 0
    for parent in list(model.modules()):
        for convolution, norm in _pairs(parent):
            before: Any = parent.get_submodule(convolution)
            after: Any = parent.get_submodule(norm)
            if owners[id(parent)] * owners[id(before)] * owners[id(after)] > 1 or _is_watched(before, after):
                continue
            is_transposed = isinstance(before, nn.ConvTranspose2d)
            setattr(parent, convolution, fuse_conv_bn_eval(before, after, is_transposed))
            setattr(parent, norm, _rest_of(after))
            count += 1
    return count


def _pairs(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of the children of a module that follow each other directly, a convolution and its batch norm."""
    children = dict(parent.named_children())
    if not (any(map(_is_convolution, children.values())) and any(map(_is_foldable_norm, children.values()))):
        return
    graph = _graph_of_forward(parent)
    calls = [] if graph is None else [node for node in graph.nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    for node in calls:
        read = node.args[0] if len(node.args) == 1 and not node.kwargs else None
        if not isinstance(read, fx.Node) or read.op != "call_module" or len(read.users) > 1:
            continue
        names = (str(read.target), str(node.target))
        if times[read.target] > 1 or times[node.target] > 1 or not all(name in children for name in names):
            continue
        if _is_convolution(children[names[0]]) and _is_foldable_norm(children[names[1]]):
            yield names


class _OwnForward(fx.Tracer):
    """Traces what a module does itself, and none of its children."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _graph_of_forward(module: nn.Module) -> fx.Graph | None:
    try:
        return _OwnForward().trace(copy.copy(module))  # a copy, since forward may keep what it is given
    except Exception:  # a stand-in for a tensor goes through anybody's code: whatever that raises, there is no graph
        return None


def _is_convolution(module: nn.Module) -> bool:
    return type(module) in CONVOLUTIONS


def _is_foldable_norm(module: nn.Module) -> bool:
    if not isinstance(module, nn.BatchNorm2d) or module.training or not (module.affine and module.track_running_stats):
        return False
    return type(module) is nn.BatchNorm2d or _has_activation(module)


def _has_activation(norm: nn.Module) -> bool:
    """Whether it is timm's batch norm with an activation behind it."""
    from timm.layers import BatchNormAct2d  # where a model has one, timm is loaded

    return type(norm) is BatchNormAct2d


def _rest_of(norm: nn.Module) -> nn.Module:
    """What a batch norm does besides."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    parts: Any = norm
    return nn.Sequential(parts.drop, parts.act)


def _is_watched(*modules: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)
