import numpy as np
import pytest

from dlcpose.datasets.synthetic.bodies import BODIES, Body, find_body
from dlcpose.structures.errors import ConfigError

bodies = pytest.mark.parametrize("name", sorted(BODIES))


def placed(body: Body, forward: complex, angles: np.ndarray | None = None) -> np.ndarray:
    count = len(body.joints)
    points = body.place(50 + 60j, forward, np.zeros(count) if angles is None else angles, np.ones(count))
    return points[list(body.keypoints)]


@bodies
def test_every_left_has_a_right_and_limbs_join_all_keypoints(name: str) -> None:
    skeleton = BODIES[name].skeleton
    sided = [keypoint for keypoint in skeleton.names if "left" in keypoint or "right" in keypoint]
    assert len(sided) == 2 * len(skeleton.pairs) > 0
    assert len(skeleton.edges) == len(skeleton) - 1
    reached = {0}
    for _ in skeleton.names:
        reached |= {end for edge in skeleton.edges for end in edge if reached & set(edge)}
    assert reached == set(range(len(skeleton)))


@bodies
def test_left_is_on_the_left_of_an_animal_that_heads_up_the_image(name: str) -> None:
    body = BODIES[name]
    points = placed(body, -40j)  # y points down
    for left, right in body.skeleton.pairs:
        assert points[left, 0] < 50 < points[right, 0]


@bodies
def test_an_animal_at_rest_is_its_own_mirror_image(name: str) -> None:
    body = BODIES[name]
    points = placed(body, -40j)
    mirrored = np.stack([100 - points[:, 0], points[:, 1]], axis=-1)[list(body.skeleton.flip_order)]
    np.testing.assert_allclose(points, mirrored, atol=1e-9)


@bodies
def test_turning_the_animal_turns_all_its_keypoints(name: str) -> None:
    body = BODIES[name]
    rng = np.random.default_rng(1)
    angles = rng.normal(size=len(body.joints))
    angles[0] = 0
    turn = np.exp(0.7j)
    complex_points = placed(body, 30 + 0j, angles) @ (1, 1j) - (50 + 60j)
    turned = placed(body, 30 * turn, angles) @ (1, 1j) - (50 + 60j)
    np.testing.assert_allclose(turned, complex_points * turn, atol=1e-9)


def test_a_part_above_hides_a_keypoint_but_not_its_own() -> None:
    body = find_body(
        {
            "joints": [
                {"name": "trunk", "radius": 0.3, "level": 1},
                {"name": "hip", "parent": "trunk", "left": 0.1, "labeled": False},
                {"name": "paw", "parent": "hip", "left": 0.1, "radius": 0.05},
                {"name": "ear", "parent": "trunk", "forward": 0.3, "radius": 0.05, "level": 2},
            ],
            "marks": [{"joint": "trunk", "radius": 0.2}],
        }
    )
    occludes = {name: set(np.flatnonzero(row)) for name, row in zip(body.skeleton.names, body.can_occlude, strict=True)}
    assert [part[1] for part in body.parts] == [2, 0, 3, 4]  # paw, trunk, ear, mark
    # Trunk and ear may lie over the paw, the ear over the trunk, nothing over the ear; marks never hide.
    assert occludes == {"trunk": {2}, "paw": {1, 2}, "ear": set()}


@pytest.mark.parametrize(
    ("skeleton", "message"),
    [
        ("unicorn", "expected one of fly, mouse, quadruped.*'unicorn'"),
        ({"joints": [{"name": "a", "radius": 1, "color": "red"}]}, "color"),
        ({"names": ["a"]}, "joints"),
        ({"joints": [{"name": "a", "radius": 0.1}, {"name": "b", "parent": "c"}]}, r"'b'.*\['a'\].*'c'"),
        ({"joints": [{"name": "a"}]}, "radius above 0"),
        ({"joints": [{"name": "a", "radius": 0.1, "labeled": False}]}, "labeled"),
        ({"joints": [{"name": "a", "radius": 0.1}, {"name": "a", "parent": "a"}]}, "own name"),
        ({"joints": [{"name": "a", "radius": 0.1, "tint": "plaid"}]}, "tints.*plaid"),
        ({"joints": [{"name": "a", "radius": 0.1}], "marks": [{"joint": "z"}]}, "mark"),
    ],
)
def test_a_body_that_cannot_be_built_is_refused(skeleton: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_body(skeleton)  # type: ignore[arg-type]
