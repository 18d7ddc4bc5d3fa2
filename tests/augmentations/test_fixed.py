import albumentations as A
import pytest

from dlcpose.augmentations.fixed import FixedAugmentation
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton


def starts(augmentation: FixedAugmentation) -> list[float]:
    schedule = augmentation.schedule([], Skeleton(("a",)), Input(), may_crop=True)
    return [phase.start for phase in schedule.phases]


def test_one_list_is_one_phase_and_a_closing_list_another() -> None:
    assert starts(FixedAugmentation([A.InvertImg()])) == [0]
    assert starts(FixedAugmentation([A.InvertImg()], closing=[], closing_share=0.25)) == [0, 0.75]


@pytest.mark.parametrize(("share", "closing"), [(2.0, []), (-0.1, []), (0.5, None)])
def test_a_share_that_is_none_or_has_no_list_is_refused(share: float, closing: list[A.BasicTransform] | None) -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.closing_share"):
        FixedAugmentation([], closing=closing, closing_share=share)
