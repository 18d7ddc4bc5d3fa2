"""HRNet cut after a stage, without the weights of the stages and branches that are not used."""

from typing import Any

from torch import nn

from dlcpose.backbones.base import Backbone
from dlcpose.backbones.timm_backbone import create_network
from dlcpose.structures.errors import ConfigError

STAGES = 4  # of a whole HRNet; stage s works on s branches, each half as fine as the one before it


class HrnetBackbone(Backbone):
    """timm's HRNet up to one of its four stages, with that stage's fused branches as maps, finest first.

    name: timm's. stages: number of stages; 1 is the stem and its bottlenecks. branches: number of the last stage's branches
    that are returned, finest first, without the layers that fuse into the others; None for all.
    pretrained, checkpoint_path: weights of the whole network or of a cut one; surplus weights are ignored.
    Sources: Sun et al. 2019, section 3. TokenPose and TransPose-H use one branch of three stages.
    """

    def __init__(
        self,
        name: str,
        *,
        stages: int = STAGES,
        branches: int | None = None,
        pretrained: bool = False,
        checkpoint_path: str | None = None,
        finest_stride: int = 4,
        frozen: bool = False,
        frozen_statistics: bool = False,
    ) -> None:
        if not name.startswith("hrnet"):
            raise ConfigError(f"backbone.name: expected one of timm's HRNets, such as hrnet_w32, got {name!r}.")
        if not 1 <= stages <= STAGES:
            raise ConfigError(f"backbone.stages: HRNet has {STAGES} stages, got {stages}. Take one of 1 to {STAGES}.")
        kept = stages if branches is None else branches
        if not 1 <= kept <= stages:
            raise ConfigError(
                f"backbone.branches: stage {stages} of HRNet has {stages} branches, got {kept}. "
                f"Take one of 1 to {stages}, or null for all."
            )
        settings = {"features_only": True, "feature_location": "", "out_indices": tuple(range(kept + 1))}
        network = create_network(name, pretrained, settings)
        channels = [network.conv1.out_channels, *_branch_channels(network, stages)[:kept]]
        _cut(network, stages, kept)
        super().__init__(
            network,
            channels,
            [2 ** (level + 1) for level in range(len(channels))],
            name=name,
            size_divisor=2 ** (stages + 1),  # of the coarsest branch, even if it is not returned
            checkpoint_path=checkpoint_path,
            finest_stride=finest_stride,
            frozen=frozen,
            frozen_statistics=frozen_statistics,
        )


def _branch_channels(network: Any, stages: int) -> list[int]:
    if stages == 1:
        return [network.layer1[-1].conv3.out_channels]
    return list(getattr(network, f"stage{stages}")[-1].num_in_chs)


def _cut(network: Any, stages: int, branches: int) -> None:
    """Remove the stages after the last one, and in its last module the layers that fuse into unused branches."""
    if stages > 1:
        last = getattr(network, f"stage{stages}")[-1]
        last.fuse_layers = last.fuse_layers[:branches]
    for stage in range(stages + 1, STAGES + 1):
        # timm's forward calls all stages: the removed ones become identities.
        setattr(network, f"transition{stage - 1}", nn.ModuleList(nn.Identity() for _ in range(branches)))
        setattr(network, f"stage{stage}", nn.Identity())
