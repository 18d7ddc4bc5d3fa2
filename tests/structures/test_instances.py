import torch

from dlcpose.structures.instances import instances_of


def test_what_a_head_does_not_know_is_filled_in() -> None:
    found = instances_of(torch.zeros(2, 3, 2), torch.tensor([[0.2, 0.4, 0.6], [1.0, 1.0, 1.0]]))
    assert len(found) == 2
    torch.testing.assert_close(found.scores, torch.tensor([0.4, 1.0]))
    assert found.identities.tolist() == [-1, -1]
    assert found.unique_in_crop.shape == (0, 2)
    assert found.unique_scores.shape == (0,)


def test_what_a_head_knows_is_kept() -> None:
    given = {
        "scores": torch.tensor([0.1]),
        "identities": torch.tensor([3]),
        "unique_in_crop": torch.ones(2, 2),
        "unique_scores": torch.ones(2),
    }
    found = instances_of(torch.zeros(1, 3, 2), torch.ones(1, 3), given.pop("scores"), **given)
    assert found.scores.tolist() == [torch.tensor(0.1).item()]
    assert found.identities.tolist() == [3]
    assert found.unique_scores.tolist() == [1, 1]


def test_no_animal_is_an_answer() -> None:
    found = instances_of(torch.zeros(0, 3, 2), torch.zeros(0, 3))
    assert len(found) == 0
    assert found.scores.shape == (0,)
