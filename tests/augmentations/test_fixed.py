import albumentations as A
import pytest

from dlcpose.augmentations.animal_crop import AnimalCrop
from dlcpose.augmentations.fixed import FixedAugmentation
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton

SKELETON = Skeleton(("a",))


def starts(augmentation: FixedAugmentation) -> list[float]:
    schedule = augmentation.schedule([], SKELETON, Input(), may_crop=True)
    return [phase.start for phase in schedule.phases]


def test_one_list_is_one_phase_and_a_closing_list_another() -> None:
    assert starts(FixedAugmentation([A.InvertImg()])) == [0]
    assert starts(FixedAugmentation([A.InvertImg()], closing=[], closing_share=0.25)) == [0, 0.75]


@pytest.mark.parametrize(("share", "closing"), [(2.0, []), (-0.1, []), (0.5, None)])
def test_a_share_that_is_none_or_has_no_list_is_refused(share: float, closing: list[A.BasicTransform] | None) -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.closing_share"):
        FixedAugmentation([], closing=closing, closing_share=share)


@pytest.mark.parametrize("settings", [{"height": 100, "width": 96}, {"height": 96, "width": 100}], ids=str)
@pytest.mark.parametrize("nested", [False, True])
def test_crops_that_the_backbone_does_not_take_are_refused(settings: dict[str, int], nested: bool) -> None:
    step = AnimalCrop(**settings)
    augmentation = FixedAugmentation([A.OneOf([step]) if nested else step])
    side = "height" if settings["height"] == 100 else "width"
    with pytest.raises(ConfigError, match=rf"^augmentation: .* {side}: 128"):
        augmentation.schedule([], SKELETON, Input(128, 128, multiple_of=32), may_crop=True)
    augmentation.schedule([], SKELETON, Input(96, 96, multiple_of=32), may_crop=True)  # no larger than the canvas
    augmentation.schedule([], SKELETON, Input(multiple_of=4), may_crop=True)
