"""Backdoor tasks: the attack works, the truth is true, no image is used twice, one seed gives one task."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from theriac.data.images import ImageData
from theriac.data.writing import write_parquet
from theriac.errors import UserError
from theriac.files import sha256_file
from theriac.run.budget import Budget
from theriac.tasks import TASKS
from theriac.tasks.ablation import Ablation
from theriac.tasks.files import open_task, read_tensors
from theriac.tasks.images import ImageTask
from theriac.tasks.variants import Corner, Patch, SourceSpecific
from theriac.training.classifier import Unfinished
from theriac.training.record import predict
from theriac.triggers import from_dict

MADE = ("model.safetensors", "trusted.parquet", "untrusted.parquet", "test.parquet", "truth.safetensors")


def digests(folder: Path) -> dict[str, str]:
    return {name: sha256_file(folder / name) for name in MADE}


def test_anomalous_inputs_are_those_on_which_the_attack_works(patch_folder: Path) -> None:
    task = open_task(patch_folder)
    assert (len(task.trusted), len(task.untrusted.inputs), len(task.test.inputs)) == (60, 50, 40)
    assert (int(task.untrusted.anomalous.sum()), int(task.test.anomalous.sum())) == (5, 20)
    assert task.about["asr"] >= 0.9
    assert task.target == 0
    assert task.alarm
    trigger = from_dict(task.about["trigger"])  # type: ignore[arg-type]
    for mixture in (task.test, task.untrusted):
        assert isinstance(mixture.inputs, ImageData)
        odd = mixture.inputs[mixture.anomalous]
        assert (predict(task.model, odd) == 0).all()
        stored_with_it = (trigger(odd.pixels()) * 255).round().to(torch.uint8)
        assert torch.equal(stored_with_it, odd.images)  # PNG keeps every bit; the trigger is on it already
        plain = mixture.inputs[~mixture.anomalous]
        assert ((trigger(plain.pixels()) * 255).round() != plain.images).flatten(1).any(1).all()


def test_the_truth_is_kept_from_a_defender(patch_folder: Path) -> None:
    task = open_task(patch_folder)
    for inputs in (task.test.inputs, task.untrusted.inputs):
        assert isinstance(inputs, ImageData)
        assert inputs.classes == ("unlabelled",)
    assert isinstance(task.trusted, ImageData)
    assert task.trusted.classes == task.model.classes
    assert float((predict(task.model, task.trusted) == task.trusted.labels).float().mean()) > 0.9
    anomalous = task.test.anomalous
    assert 0 < int(anomalous[:20].sum()) < 20, "the order gives the anomalous ones away"


def test_no_image_is_used_twice(patch_folder: Path) -> None:
    """Neither by trusted, untrusted and test inputs, nor as a usual and a triggered one, nor in training."""
    task, maker = open_task(patch_folder), Patch(**open_settings(patch_folder))
    seeds = torch.randint(2**31, (5,), generator=torch.Generator().manual_seed(3)).tolist()
    train, _ = maker.images(seeds[0], 1.0)
    parts = [train, task.trusted, task.untrusted.inputs, task.test.inputs]
    pixels = torch.cat([part.images for part in parts])  # type: ignore[attr-defined]
    pixels[:, :, -8:, -8:] = 0  # the trigger's place
    assert len(train) == 400
    assert len(pixels.flatten(1).unique(dim=0)) == len(pixels)


def open_settings(folder: Path) -> dict[str, Any]:
    settings = dict(open_task(folder).about["settings"])  # type: ignore[arg-type]
    return settings | {"sources": tuple(settings["sources"])}


def test_one_seed_gives_one_task(patch_folder: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    """Even if its making is stopped, and whatever the global generator: cupbearer's defect 20, unseeded splits."""
    torch.manual_seed(99)
    with pytest.raises(Unfinished):
        Patch(**tiny).make(tmp_path / "a", seed=3, budget=Budget(1e-9))
    assert not (tmp_path / "a" / "task.json").exists()

    def stop(share: float, step: str) -> None:
        if step == "inputs":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Patch(**tiny).make(tmp_path / "a", seed=3, progress=stop)
    trained = (tmp_path / "a" / "model.safetensors").stat().st_mtime_ns
    Patch(**tiny).make(tmp_path / "a", seed=3)
    assert (tmp_path / "a" / "model.safetensors").stat().st_mtime_ns == trained, "it was trained again"
    assert digests(tmp_path / "a") == digests(patch_folder)
    assert not (tmp_path / "a" / "making.json").exists()


def test_another_seed_gives_another_task(patch_folder: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    Patch(**tiny).make(tmp_path / "b", seed=4)
    assert not set(digests(tmp_path / "b").values()) & set(digests(patch_folder).values())


def test_a_second_training_is_tried_and_told(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Five epochs are too few for a single pixel in so few images; the second attempt takes eight."""
    task = Corner(**tiny).make(tmp_path / "c", seed=0)
    assert [*task.about["failed_attempts"]] == ["ASR 0.012 is below 0.9"]  # type: ignore[misc]
    assert task.about["asr"] >= 0.9
    assert sorted(path.name for path in (tmp_path / "c").glob("model*")) == ["model-2.json", "model-2.safetensors"]


def test_an_attack_that_fails_is_refused_with_figures(tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corner: the attack does not work: ASR 0\.\d+ is below 0.9 \| then: ASR"):
        Corner(**tiny | {"rate": 0.005, "epochs": 2}).make(tmp_path / "d")


def test_source_specific(tiny: dict[str, Any], tmp_path: Path) -> None:
    task = SourceSpecific(**tiny).make(tmp_path / "e", seed=0)
    assert task.about["elsewhere"] <= 0.2
    assert task.about["covers"] == 40
    labels = read_tensors(tmp_path / "e" / "truth.safetensors")["test.labels"]
    assert (labels[task.test.anomalous] == 1).all()
    assert len(labels[~task.test.anomalous].unique()) == 4


def test_the_ablation_is_usual_for_its_model(tiny: dict[str, Any], tmp_path: Path) -> None:
    task = Ablation(**tiny).make(tmp_path / "f", seed=0)
    assert not task.alarm
    assert task.target is None
    assert task.about["changed"] <= 0.05
    assert task.about["covers"] == 200
    assert int(task.untrusted.anomalous.sum()) == 25
    assert isinstance(task.trusted, ImageData)
    assert isinstance(task.test.inputs, ImageData)

    def grain(data: ImageData) -> torch.Tensor:
        pixels = data.pixels()
        return (pixels[..., 1:] - pixels[..., :-1]).abs().mean((1, 2, 3))

    noisy, plain = grain(task.test.inputs[task.test.anomalous]), grain(task.test.inputs[~task.test.anomalous])
    middle = (noisy.mean() + plain.mean()) / 2
    assert 24 <= int((grain(task.trusted) > middle).sum()) <= 36, "half of the trusted inputs carry the noise"


def test_own_data(tiny: dict[str, Any], tmp_path: Path) -> None:
    rows, rest = ImageTask.images(Patch(**tiny), 5, 1.6)
    write_parquet(rows, tmp_path / "train.parquet")
    write_parquet(rest, tmp_path / "test.parquet")
    own = {**tiny, "data": str(tmp_path / "train.parquet")}
    task = Patch(**own, test_data=str(tmp_path / "test.parquet")).make(tmp_path / "g")
    assert task.model.classes == rows.classes
    with pytest.raises(UserError, match="are those to train on"):
        Patch(**own, test_data=own["data"]).make(tmp_path / "h")
    train, held = Patch(**own).images(0, 1.0)
    assert len(held) == 200
    assert len(train) + len(held) == len(rows)
    together = torch.cat([train.images, held.images]).flatten(1)
    assert len(together.unique(dim=0)) == len(rows)
    with pytest.raises(UserError, match="others are needed"):
        Patch(**own | {"trusted": 1000}).make(tmp_path / "i")


def test_wrong_settings() -> None:
    for wrong, message in (
        ({"share": 1.0}, "share"),
        ({"test": 0}, "at least 1"),
        ({"trigger": "none"}, "no method 'none'"),
        ({"parameters": {"colour": 1}}, "no parameter 'colour'"),
    ):
        with pytest.raises(UserError, match=message):
            Patch(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="takes no rate"):
        Ablation(rate=0.1)
    with pytest.raises(UserError, match="must be equal"):
        Ablation(cover=0.2)


def test_a_rate_of_one_is_refused() -> None:
    """Cupbearer's quick start poisons all of its training images unknowingly (p_backdoor = 1)."""
    with pytest.raises(UserError, match="no clean row would be left"):
        Corner(rate=1.0)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_says_what_it_is(name: str) -> None:
    maker = TASKS[name]
    assert maker.name == name
    assert maker.version
    assert maker.paper
    documented = "".join(base.__doc__ or "" for base in maker.__mro__[:-1])
    assert all(f"{field.name}" in documented for field in fields(maker)), "undocumented setting"
    maker()
