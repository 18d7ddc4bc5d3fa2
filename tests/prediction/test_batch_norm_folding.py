import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from dlcpose.config.models import available_models, multi_animal_models
from dlcpose.prediction.batch_norm_folding import fold_batch_norms
from tests.tiny_models import ALL_MODELS, batch_of, built, composed, smallest_of_each, tiny, worms


def with_statistics(model: nn.Module) -> nn.Module:
    """In evaluation mode, with statistics and weights in its batch norms as training leaves them."""
    generator = torch.Generator().manual_seed(0)
    for module in model.eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ):
                assert values is not None
                values.data.uniform_(low, high, generator=generator)
    return model


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


class Reads(nn.Module):
    """A convolution and a norm, with a forward of the test's."""

    last: Tensor | None

    def __init__(self, forward: Callable[["Reads", Tensor], Tensor], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.norm, self.given = nn.Conv2d(3, 3, 3, padding=1), norm or nn.BatchNorm2d(3), forward

    def forward(self, images: Tensor) -> Tensor:
        return self.given(self, images)


class Standardized(nn.Conv2d):
    """As of timm's StdConv2d: what it multiplies with is not its weight."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.conv2d(input, self.weight / self.weight.std(), self.bias, padding=self.padding)


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All that are held by a model's maps, whatever structure they have."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_of(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_of(each)
    elif is_dataclass(value):
        yield from tensors_of([getattr(value, field.name) for field in fields(value)])


def sequence(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules)


FOLDED: dict[str, Callable[[], nn.Module]] = {
    "in a sequence": lambda: sequence(nn.Conv2d(3, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU()),
    "transposed": lambda: sequence(nn.ConvTranspose2d(3, 3, 4, 2, 1), nn.BatchNorm2d(3)),
    "in groups": lambda: sequence(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)),
    "with an activation": lambda: sequence(nn.Conv2d(3, 3, 3), BatchNormAct2d(3)),
    "beside a shortcut": lambda: Reads(lambda self, images: images + self.norm(self.conv(images)).relu()),
}
KEPT: dict[str, Callable[[], nn.Module]] = {
    "the output is read twice": lambda: Reads(lambda self, images: self.conv(images) + self.norm(self.conv(images))),
    "the output is returned too": lambda: Reads(lambda self, images: (out := self.conv(images)) + self.norm(out)),
    "something lies between": lambda: Reads(lambda self, images: self.norm(self.conv(images).relu())),
    "the norm comes first": lambda: Reads(lambda self, images: self.conv(self.norm(images))),
    "the norm is called twice": lambda: Reads(lambda self, images: self.norm(self.norm(self.conv(images)))),
    "forward branches on values": lambda: Reads(
        lambda self, images: self.norm(self.conv(images)) if images.sum() > 0 else self.conv(images)
    ),
    "another convolution": lambda: sequence(Standardized(3, 3, 3), nn.BatchNorm2d(3)),
    "statistics of the batch": lambda: sequence(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3, track_running_stats=False)),
}


@pytest.mark.parametrize("case", [*FOLDED, *KEPT])
def test_outputs_stay_and_norms_go_where_they_can(case: str) -> None:
    model = (FOLDED | KEPT)[case]()
    model = with_statistics(model) if case != "statistics of the batch" else model.eval()
    images = torch.rand(2, 3, 16, 16)
    expected = model(images)
    assert fold_batch_norms(model) == (case in FOLDED)
    assert norms(model) == (case in KEPT)
    torch.testing.assert_close(model(images), expected)


def test_what_trains_shares_or_is_watched_is_left() -> None:
    def pair() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    assert fold_batch_norms(pair().train()) == 0
    shared = pair().eval()
    assert fold_batch_norms(nn.ModuleList([shared, nn.Sequential(shared[0])])) == 0
    watched = pair().eval()
    watched[0].register_forward_hook(lambda *_: None)
    assert fold_batch_norms(watched) == 0


def test_a_forward_that_keeps_what_it_is_given_keeps_images() -> None:
    def remembering(self: Reads, images: Tensor) -> Tensor:
        self.last = images if self.last is None else self.last
        return self.norm(self.conv(images))  # type: ignore[no-any-return]

    model = Reads(remembering).eval()
    model.last = None
    assert fold_batch_norms(model) == 1
    images = torch.rand(1, 3, 8, 8)
    model(images)
    assert model.last is images


@pytest.mark.parametrize("model", available_models() if ALL_MODELS else smallest_of_each(available_models()))
def test_every_model_computes_the_same_maps(model: str) -> None:
    data = worms(4, animals=2 if model in multi_animal_models() else 1)
    plain = with_statistics(built(tiny(composed(f"model={model}")), data))
    folded = copy.deepcopy(plain)
    count = fold_batch_norms(folded)
    assert norms(folded) <= norms(plain) - count
    assert norms(plain) == 0 or count > 0
    batch = batch_of(data, plain)
    with torch.inference_mode():
        before, after = (list(tensors_of(each.compute_maps(batch))) for each in (plain, folded))
    assert before
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3, equal_nan=True)
