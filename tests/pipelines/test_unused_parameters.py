"""What has no gradient is named, and nothing else."""

import torch
from torch import Tensor, nn

from dlcpose.pipelines.unused_parameters import unused_parameters
from tests.made_up_runs import frames_of, option, pipeline_of, tiny_config


class HalfRead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.unread, self.frozen = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.frozen.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self.unread(images)
        return images, {"maps": self.norm(self.frozen(self.read(images)))}


def test_it_is_what_gets_no_gradient() -> None:
    network = HalfRead()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert unused_parameters(network, (8, 8)) == ["unread.weight", "unread.bias"]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network(torch.rand(2, 3, 8, 8))[1]["maps"].sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.requires_grad and weight.grad is None] == [
        "unread.weight",
        "unread.bias",
    ]


def test_a_network_that_wants_more_than_images_is_left_as_it_is() -> None:
    class ConditionalTopDown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 1)

        def forward(self, images: Tensor, poses: Tensor) -> Tensor:
            return self.layer(images) + poses

    assert unused_parameters(ConditionalTopDown(), (8, 8)) == []


def test_an_hrnet_read_at_its_finest_branch_has_nothing_left_to_wait_for() -> None:
    backbone = {"_target_": "dlcpose.backbones.timm_backbone.TimmBackbone", "name": "hrnet_w18_small"}
    neck = {**option("neck", "identity"), "level": 0}
    pipeline = pipeline_of(tiny_config(backbone=backbone, neck=neck), frames_of(2))
    pipeline.freeze_unused_parameters()
    pipeline.train()(torch.rand(2, 3, 64, 64)).animals.heatmaps.sum().backward()
    without = [name for name, weight in pipeline.named_parameters() if weight.requires_grad and weight.grad is None]
    assert all(name.startswith("head.") for name in without)  # of maps that were not summed here
    assert any(not weight.requires_grad for weight in pipeline.parameters())
