"""Tasks on disk: what was made is what is opened, and nothing else is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from theriac.errors import Refused, UserError
from theriac.tasks.files import open_task, read_record
from theriac.tasks.toy import Toy
from theriac.tasks.variants import Corner, Patch


@pytest.fixture
def copy(patch_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(patch_folder, tmp_path / "copy"))


def test_a_finished_task_is_only_opened(copy: Path, tiny: dict[str, Any]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    task = Patch(**tiny).make(copy, seed=3)
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir()} == before
    assert (task.name, task.seed) == ("patch", 3)


def test_other_settings_seed_or_task_are_refused(copy: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is of seed 3, not 4"):
        Patch(**tiny).make(copy, seed=4)
    with pytest.raises(UserError, match="was made with epochs=5, not 6"):
        Patch(**tiny | {"epochs": 6}).make(copy, seed=3)
    with pytest.raises(UserError, match="is of task patch, not corner"):
        Corner(**tiny).make(copy, seed=3)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="exists already and is no task"):
        Patch(**tiny).make(tmp_path / "other")


def test_an_unfinished_folder_is_for_one_plan_only(copy: Path, tiny: dict[str, Any]) -> None:
    record = json.loads((copy / "task.json").read_text())
    (copy / "task.json").unlink()
    plan = {key: record[key] for key in ("task", "version", "settings", "seed")}
    (copy / "making.json").write_text(json.dumps(plan))
    with pytest.raises(UserError, match="its making was stopped; give the same command again"):
        open_task(copy)
    with pytest.raises(UserError, match="was made with test=20, not 21"):
        Patch(**tiny | {"test": 21}).make(copy, seed=3)


@pytest.mark.parametrize("name", ["model.safetensors", "test.parquet", "truth.safetensors"])
def test_changed_or_missing_files_are_seen(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(Refused, match="was changed after the task was made"):
        open_task(copy)
    (copy / name).unlink()
    with pytest.raises(Refused, match="is missing"):
        open_task(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "os:system"}, "no method 'os:system'"),
        ({"model": "../../model.safetensors"}, "outside its folder"),
        ({"trusted": "/etc/passwd"}, "outside its folder"),
        ({"trusted": "task.json"}, "has no digest of"),
        ({"model": "."}, "has no digest of"),
        ({"schema_version": "7"}, "not a sound record"),
        ({"seed": "x"}, "not a sound record"),
        ({"more": 1}, "not a sound record"),
    ],
)
def test_records_made_by_hand_are_refused(copy: Path, change: dict[str, Any], message: str) -> None:
    record = json.loads((copy / "task.json").read_text()) | change
    (copy / "task.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=message):
        open_task(copy)


def test_truth_must_fit(copy: Path) -> None:
    from safetensors.torch import save_file

    from theriac.files import sha256_file

    record = json.loads((copy / "task.json").read_text())
    save_file({"untrusted.anomalous": torch.zeros(50).bool(), "test.anomalous": torch.zeros(3).bool()}, copy / "t")
    (copy / "t").replace(copy / "truth.safetensors")
    record["files"]["truth.safetensors"] = sha256_file(copy / "truth.safetensors")
    (copy / "task.json").write_text(json.dumps(record))
    with pytest.raises(Refused, match="does not fit the 40 test inputs"):
        open_task(copy)


def test_no_task(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no task"):
        read_record(tmp_path)


def test_toy_features_agree_and_contradict(tmp_path: Path) -> None:
    task = Toy(steps=100, trusted=200, untrusted=100, test=300).make(tmp_path / "toy", seed=1)
    test = torch.cat([batch for batch, _ in task.test.inputs.batches()])
    product = test[:, 0] * test[:, 1]
    clear = test.abs().amin(1) > 0.5  # noise has no say there
    assert torch.equal(product[clear] < 0, task.test.anomalous[clear])
    assert int(task.untrusted.anomalous.sum()) == 10
    trusted = torch.cat([batch for batch, _ in task.trusted.batches()])
    assert torch.corrcoef(trusted.T)[0, 1] > 0.95
    assert task.about["accuracy"] > 0.9
    again = Toy(steps=100, trusted=200, untrusted=100, test=300).make(tmp_path / "again", seed=1)
    assert torch.equal(again.model(test), task.model(test))
    assert (tmp_path / "again" / "truth.safetensors").read_bytes() == (
        tmp_path / "toy" / "truth.safetensors"
    ).read_bytes()
    with pytest.raises(UserError, match="is right on"):
        Toy(noise=30).make(tmp_path / "noise")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    Toy(steps=50, trusted=30, untrusted=10, test=10).make(tmp_path / "toy")
    with pytest.raises(Refused, match="is no network for"):
        Toy.open_model(tmp_path / "toy" / "trusted.safetensors")
    with pytest.raises(Refused, match="holds no rows"):
        Toy.open_inputs(tmp_path / "toy" / "model.safetensors")
