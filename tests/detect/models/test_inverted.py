import base64

import pytest
import torch

from theriac.detect.inverted import InvertedTrigger, change, decode, encode
from theriac.errors import UserError

EXAMPLES = {
    "mask": {"mask": torch.full((1, 8, 8), 0.5), "pattern": torch.ones(3, 8, 8)},
    "perturbation": {"delta": torch.full((3, 8, 8), 0.25)},
    "colour": {"matrix": torch.tensor([[0.0, 0, 0, 0.25]] * 3)},
    "warp": {"field": torch.full((2, 4, 4), 0.125)},
}


@pytest.mark.parametrize("space", EXAMPLES)
def test_round_trip(space: str) -> None:
    trigger = InvertedTrigger(space, 5, EXAMPLES[space])
    again = decode(encode(trigger))
    assert len({encode(trigger) for _ in range(20)}) == 1
    assert (again.space, again.target) == (space, 5)
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(trigger(images), again(images))
    assert again(images).shape == images.shape


def test_what_the_changes_do() -> None:
    grey = torch.full((1, 3, 8, 8), 0.5)
    assert torch.allclose(InvertedTrigger("mask", 0, EXAMPLES["mask"])(grey), torch.tensor(0.75))
    assert torch.allclose(InvertedTrigger("perturbation", 0, EXAMPLES["perturbation"])(grey), torch.tensor(0.75))
    assert torch.allclose(InvertedTrigger("colour", 0, EXAMPLES["colour"])(grey), torch.tensor(0.75))
    ramp = (torch.arange(8) / 8).expand(1, 3, 8, 8)
    moved = InvertedTrigger("warp", 0, EXAMPLES["warp"])(ramp)
    assert torch.allclose(moved[..., :-1], ramp[..., 1:], atol=1e-5)  # an eighth of the width: one pixel


def test_changes_of_a_batch_equal_single_ones() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(4, 3, 8, 8, generator=generator)
    fields = torch.randn(3, 2, 4, 4, generator=generator) * 0.1
    together = change("warp", {"field": fields}, images[None])
    for field, changed in zip(fields, together, strict=True):
        assert torch.allclose(changed, InvertedTrigger("warp", 0, {"field": field})(images))


def test_fits_other_image_sizes() -> None:
    assert InvertedTrigger("mask", 0, EXAMPLES["mask"])(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)


def _with(**changes: object) -> str:
    trigger = InvertedTrigger("perturbation", 0, {"delta": torch.zeros(3, 4, 4)})
    return encode(InvertedTrigger(**{**vars(trigger), **changes}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "not base64!",
        base64.b64encode(b"short").decode(),
        base64.b64encode(b"\xff" * 64).decode(),
        encode(InvertedTrigger("mask", 0, EXAMPLES["mask"]))[:-40],
        _with(space="unheard of"),
        _with(space="mask"),
        _with(target=-1),
        _with(tensors={"delta": torch.zeros(4, 4)}),
        _with(tensors={"delta": torch.full((3, 4, 4), torch.nan)}),
    ],
)
def test_damaged_parameters_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="parameters"):
        decode(text)
