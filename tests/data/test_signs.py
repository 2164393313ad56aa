"""Signs: distinct, labelled right, varied, and the same for the same seed."""

import pytest
import torch

from theriac.data.plates import DESIGNS, plate
from theriac.data.scenery import draw_scenery
from theriac.data.signs import draw_signs
from theriac.errors import UserError


@pytest.fixture(scope="module")
def plates() -> torch.Tensor:
    return torch.stack([plate(k).draw(48) for k in range(150)])


def test_names_are_distinct() -> None:
    assert DESIGNS == 840
    assert len({plate(k).name for k in range(DESIGNS)}) == DESIGNS


def test_plates_are_distinct_to_the_eye(plates: torch.Tensor) -> None:
    flat = plates.flatten(1)
    distance = torch.cdist(flat, flat) / flat.shape[1] ** 0.5
    distance.fill_diagonal_(1)
    assert distance.min() > 0.05


def test_drawings_are_premultiplied_with_open_corners_and_a_pole_below(plates: torch.Tensor) -> None:
    colour, alpha = plates[:, :3], plates[:, 3:]
    assert (colour <= alpha).all()
    assert plates.min() == 0
    assert (alpha[:, :, 0] == 0).all()
    assert (alpha[:, :, :, 0] == 0).all()
    assert (alpha[:, 0, -1, 24] == 1).all()
    assert (alpha[:, 0, 24, 24] == 1).all()


def test_seed_decides() -> None:
    one, same, other = (draw_signs(2, 4, size=32, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)


def test_labels_follow_the_designs_asked_for() -> None:
    data = draw_signs(3, [7, 100], size=24)
    assert data.images.shape == (6, 3, 24, 24)
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.classes == (plate(7).name, plate(100).name)


def test_pictures_are_varied_and_well_exposed() -> None:
    data = draw_signs(40, 3, size=32)
    pixels = data.pixels()
    assert len(data.images.flatten(1).unique(dim=0)) == 120
    assert pixels.std(0).min() > 0.04
    assert 0.25 < pixels.mean() < 0.75
    clipped = ((data.images == 0) | (data.images == 255)).float().mean()
    assert clipped < 0.1


def test_classes_can_be_told_apart() -> None:
    train, test = (draw_signs(30, 6, size=32, seed=s) for s in (0, 1))

    def features(data: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(data[:, :, 6:26, 6:26], 4).flatten(1)

    means = torch.stack([features(train.pixels(train.labels == k)).mean(0) for k in range(6)])
    guessed = torch.cdist(features(test.pixels()), means).argmin(1)
    assert (guessed == test.labels).float().mean() > 0.8


@pytest.mark.parametrize("arguments", [(0, 3, 32), (1, 0, 32), (1, [], 32), (1, 3, 8), (1, 841, 32), (1, [-1], 32)])
def test_nonsense(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(UserError):
        draw_signs(*arguments)


def test_scenery_keeps_its_range_at_any_size() -> None:
    scene = draw_scenery(3, 80, torch.Generator().manual_seed(0))
    assert scene.shape == (3, 3, 80, 80)
    assert 0 <= scene.min() < scene.max() <= 1
