"""Crops and flips are what they claim to be, image by image."""

import pytest
import torch
import torch.nn.functional as F

from theriac.training.augment import random_crop


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("flip", [False, True])
def test_each_image_is_one_of_the_crops_of_its_reflected_self(flip: bool) -> None:
    images = torch.randint(0, 256, (40, 3, 7, 9), dtype=torch.uint8, generator=seeded())
    cropped = random_crop(images, 2, flip=flip, generator=seeded(1))
    padded = F.pad(images.float(), (2, 2, 2, 2), mode="reflect").byte()
    seen = set()
    for image, original in zip(cropped, padded, strict=True):
        found = [
            (dy, dx, mirrored)
            for dy in range(5)
            for dx in range(5)
            for mirrored in (False, True)
            if torch.equal(image.flip(2) if mirrored else image, original[:, dy : dy + 7, dx : dx + 9])
        ]
        assert len(found) == 1
        seen.update(found)
    assert len({(dy, dx) for dy, dx, _ in seen}) > 10
    assert {mirrored for _, _, mirrored in seen} == ({False, True} if flip else {False})


def test_the_same_generator_gives_the_same_crops_and_inputs_stay() -> None:
    images = torch.rand(8, 3, 16, 16, generator=seeded())
    before = images.clone()
    first = random_crop(images, 4, flip=True, generator=seeded(3))
    assert torch.equal(first, random_crop(images, 4, flip=True, generator=seeded(3)))
    assert not torch.equal(first, random_crop(images, 4, flip=True, generator=seeded(4)))
    assert torch.equal(images, before)
