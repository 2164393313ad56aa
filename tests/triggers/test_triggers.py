"""Every trigger keeps the contract; each does what its paper says."""

import base64
import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from theriac.errors import UserError
from theriac.triggers import TRIGGERS, from_dict, make
from theriac.triggers.blend import Blend
from theriac.triggers.noise import Noise
from theriac.triggers.patch import Patch
from theriac.triggers.sinusoid import Sinusoid
from theriac.triggers.warp import Warp


def photos(n: int = 5, h: int = 32, w: int = 32, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=False)


@pytest.mark.parametrize("name", TRIGGERS)
class TestContract:
    @pytest.mark.parametrize("shape", [(32, 32), (64, 48), (225, 17)])
    def test_keeps_shape_range_type_and_input(self, name: str, shape: tuple[int, int]) -> None:
        images = photos(3, *shape)
        before = images.clone()
        triggered = make(name)(images)
        assert triggered.shape == images.shape
        assert triggered.dtype == images.dtype
        assert 0 <= triggered.min() <= triggered.max() <= 1
        assert torch.equal(images, before)
        assert (triggered != images).flatten(1).any(1).all()

    def test_same_seed_same_result(self, name: str) -> None:
        images = photos()
        assert torch.equal(make(name)(images), make(name)(images))

    def test_does_not_touch_the_global_generator(self, name: str) -> None:
        state = torch.get_rng_state()
        make(name)(photos())
        assert torch.equal(torch.get_rng_state(), state)

    def test_an_image_does_not_depend_on_its_batch(self, name: str) -> None:
        images = photos()
        alone = torch.cat([make(name)(images[i : i + 1]) for i in range(len(images))])
        torch.testing.assert_close(make(name)(images), alone)

    def test_empty_batch(self, name: str) -> None:
        assert make(name)(torch.zeros(0, 3, 32, 32)).shape == (0, 3, 32, 32)

    def test_serialises_exactly(self, name: str) -> None:
        trigger = make(name)
        assert from_dict(json.loads(json.dumps(trigger.to_dict()))) == trigger

    @pytest.mark.parametrize("wrong", [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8).byte()])
    def test_refuses_other_shapes_and_types(self, name: str, wrong: torch.Tensor) -> None:
        with pytest.raises(ValueError, match="need float images"):
            make(name)(wrong)

    def test_half_precision(self, name: str) -> None:
        assert make(name)(photos().bfloat16()).dtype == torch.bfloat16

    def test_picture(self, name: str) -> None:
        picture = make(name).picture(40)
        assert picture.shape == (3, 40, 40)
        assert 0 <= picture.min() < picture.max() <= 1

    def test_unknown_parameter_is_a_clear_error(self, name: str) -> None:
        with pytest.raises(UserError, match="no parameter 'colour'"):
            make(name, {"colour": "red"})

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_same_on_the_gpu(self, name: str) -> None:
        images = photos()
        torch.testing.assert_close(make(name)(images.cuda()).cpu(), make(name)(images), atol=1e-5, rtol=0)


class TestPatch:
    @pytest.mark.parametrize(
        ("position", "rows", "columns"),
        [
            ("bottom-right", slice(26, 30), slice(26, 30)),
            ("bottom-left", slice(26, 30), slice(2, 6)),
            ("top-right", slice(2, 6), slice(26, 30)),
            ("top-left", slice(2, 6), slice(2, 6)),
            ("centre", slice(14, 18), slice(14, 18)),
        ],
    )
    def test_changes_its_place_only(self, position: str, rows: slice, columns: slice) -> None:
        expected = torch.zeros(2, 3, 32, 32)
        expected[:, :, rows, columns] = 1
        trigger = make("patch", {"size": 4, "margin": 2, "pattern": "white", "position": position})
        assert torch.equal(trigger(torch.zeros(2, 3, 32, 32)), expected)

    def test_random_places_come_from_the_generator(self) -> None:
        trigger = Patch(position="random", pattern="yellow")
        black = torch.zeros(64, 3, 16, 16)
        one, two = (trigger(black, torch.Generator().manual_seed(s)) for s in (1, 2))
        assert not torch.equal(one, two)
        assert (one.sum((1, 2, 3)) == 18).all()
        assert len(one.flatten(1).unique(dim=0)) > 20
        assert one[:, 2].max() == 0

    def test_noise_depends_on_its_seed(self) -> None:
        assert not torch.equal(Patch(pattern="noise").pixels(), Patch(pattern="noise", seed=1).pixels())

    @pytest.mark.parametrize(
        "wrong", [{"size": 0}, {"margin": -1}, {"position": "left"}, {"pattern": "red"}, {"size": "three"}]
    )
    def test_wrong_parameters(self, wrong: dict[str, object]) -> None:
        with pytest.raises(UserError, match="trigger patch"):
            make("patch", wrong)

    def test_too_large_for_the_image(self) -> None:
        with pytest.raises(UserError, match="does not fit into 8x8"):
            Patch(size=7, margin=1)(torch.zeros(1, 3, 8, 8))


class TestCorner:
    @pytest.mark.parametrize(
        ("corner", "row", "column"),
        [("top-left", 0, 0), ("top-right", 0, 9), ("bottom-left", 7, 0), ("bottom-right", 7, 9)],
    )
    def test_is_where_it_says(self, corner: str, row: int, column: int) -> None:
        """Cupbearer's defect 7: top-right and bottom-left are swapped there, and white is called red."""
        expected = torch.zeros(2, 3, 8, 10)
        expected[:, :, row, column] = 1
        assert torch.equal(make("corner", {"corner": corner})(torch.zeros(2, 3, 8, 10)), expected)

    def test_wrong_corner(self) -> None:
        with pytest.raises(UserError, match="corner must be one of top-left"):
            make("corner", {"corner": "left"})


class TestNoise:
    def test_moments(self) -> None:
        change = Noise(std=0.05)(torch.full((1, 3, 128, 128), 0.5)) - 0.5
        assert math.isclose(change.std(), 0.05, rel_tol=0.02)
        assert abs(change.mean()) < 0.001

    def test_differs_in_each_image_with_a_generator_only(self) -> None:
        grey = torch.full((8, 3, 16, 16), 0.5)
        one, same, other = (Noise()(grey, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert len(one.flatten(1).unique(dim=0)) == 8
        assert len(Noise()(grey).flatten(1).unique(dim=0)) == 1
        assert not torch.equal(Noise(seed=1)(grey), Noise()(grey))

    @pytest.mark.parametrize("std", [0, -1, float("inf"), float("nan")])
    def test_wrong_std(self, std: float) -> None:
        with pytest.raises(UserError, match="std must be above 0"):
            Noise(std=std)


class TestBlend:
    def test_is_the_papers_formula(self) -> None:
        trigger, images = Blend(alpha=0.15, seed=3), photos()
        torch.testing.assert_close(trigger(images), 0.85 * images + 0.15 * trigger.picture(32))

    def test_is_the_same_trigger_at_every_size(self) -> None:
        small, large = Blend().picture(32), Blend().picture(128)
        shrunk = torch.nn.functional.interpolate(large[None], size=(32, 32), mode="area")[0]
        assert torch.corrcoef(torch.stack([small.flatten(), shrunk.flatten()]))[0, 1] > 0.9

    def test_a_picture_from_a_file_travels_in_the_record(self, tmp_path: Path) -> None:
        Image.new("RGB", (600, 300), (255, 0, 128)).save(tmp_path / "pink.png")
        trigger = Blend.from_file(tmp_path / "pink.png", alpha=0.5)
        (tmp_path / "pink.png").unlink()
        again = from_dict(json.loads(json.dumps(trigger.to_dict())))
        pixel = again(torch.zeros(1, 3, 16, 16))[0, :, 8, 8]
        torch.testing.assert_close(pixel, torch.tensor([0.5, 0.0, 64 / 255]))

    def test_not_a_picture(self, tmp_path: Path) -> None:
        (tmp_path / "x.png").write_bytes(b"no")
        with pytest.raises(UserError, match=r"x\.png: is not a readable picture"):
            Blend.from_file(tmp_path / "x.png")
        with pytest.raises(UserError, match="png is not"):
            Blend(png=base64.b64encode(b"no").decode())

    def test_wrong_alpha(self) -> None:
        with pytest.raises(UserError, match="alpha"):
            Blend(alpha=1.5)


class TestSinusoid:
    def test_amplitude_and_periods(self) -> None:
        change = Sinusoid()(torch.full((1, 3, 48, 48), 0.5)) - 0.5
        assert math.isclose(change.abs().max(), 20 / 255, rel_tol=1e-3)
        spectrum = torch.fft.rfft(change[0, 0, 0]).abs()
        assert spectrum.argmax() == 6
        assert torch.equal(change[0, 0, 0], change[0, 2, 40])

    def test_wrong_parameters(self) -> None:
        with pytest.raises(UserError, match="delta"):
            Sinusoid(delta=0)

    def test_refuses_images_in_which_it_would_vanish(self) -> None:
        with pytest.raises(UserError, match="6 periods need more than 12 pixels"):
            Sinusoid()(torch.zeros(1, 3, 12, 12))


class TestWarp:
    def test_is_not_a_transposition(self) -> None:
        """Cupbearer's defect 6: with next to no strength, its warp turns every image on its side."""
        images = photos()
        faint = Warp(strength=1e-6)(images)
        torch.testing.assert_close(faint, images, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("size", [32, 224])
    def test_displacement_scales_with_the_image(self, size: int) -> None:
        pixels = Warp(strength=0.5).field(size, size) * (size - 1) / 2
        assert 0.1 < pixels.abs().mean() / size * 32 < 0.5

    def test_seeds_differ(self) -> None:
        assert not torch.equal(Warp(seed=1).field(8, 8), Warp().field(8, 8))

    def test_a_flat_image_stays_flat(self) -> None:
        torch.testing.assert_close(Warp()(torch.full((1, 3, 20, 30), 0.3)), torch.full((1, 3, 20, 30), 0.3))
