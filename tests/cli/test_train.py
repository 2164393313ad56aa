"""``theriac train classifier`` as a user meets it: files, exit codes, and being killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from theriac.cli import run
from theriac.data.images import ImageData
from theriac.data.poisoning import poison, write_poisoned
from theriac.data.writing import write_parquet
from theriac.files import sha256_file
from theriac.models.opening import open_model
from theriac.training.checkpoint import Checkpoint
from theriac.triggers.patch import Patch

SIZE = 16
QUICK = ("--batch-size", "32", "--crop", "0", "--lr", "0.1", "--json")


def blots(rows: int, seed: int, classes: int = 3) -> ImageData:
    """Returns images that are bright in one of ``classes`` stripes, which is their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    pixels = torch.rand(rows, 3, SIZE, SIZE, generator=generator) * 0.5
    width = SIZE // classes
    for row, label in enumerate(labels.tolist()):
        pixels[row, :, :, label * width : (label + 1) * width] += 0.3
    names = ("left", "middle", "right", "far")[:classes]
    return ImageData((pixels * 255).byte(), labels, names, "blots", "0" * 64)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blots")
    write_parquet(blots(240, 0), folder / "train.parquet")
    write_parquet(blots(60, 1), folder / "test.parquet")
    write_parquet(blots(60, 1, classes=4), folder / "other.parquet")
    for name, rate in (("poisoned", 0.25), ("hardly-poisoned", 0.005)):
        poisoned = poison(blots(240, 0), Patch(size=4, pattern="yellow"), target=1, rate=rate, seed=0)
        write_poisoned(poisoned, folder / name, source="train.parquet")
    return folder


def train(data: Path, out: Path, *options: str | Path) -> int:
    return run(["train", "classifier", str(data), "--out", str(out), *map(str, options)])


def test_a_poisoned_training_proves_itself(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "victim.safetensors"
    test = files / "test.parquet"
    assert train(files / "poisoned", out, "--epochs", "8", "--seed", "1", "--test", test, *QUICK) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "victim.json").read_text())
    assert record["ground_truth"] == "poisoned"
    assert record["attack"]["asr"]["value"] >= 0.9
    assert record["attack"]["target"] == 1
    assert record["attack"]["poisoned_rows"] == 60
    assert record["sha256"] == sha256_file(out)
    assert record["settings"]["epochs"] == 8
    assert record["seed"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["victim.json", "victim.lineage.jsonl", "victim.safetensors"]
    assert open_model(str(out)).classes == ("left", "middle", "right")


def test_an_attack_that_does_not_work_is_no_ground_truth(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "victim.safetensors"
    assert train(files / "hardly-poisoned", out, "--epochs", "4", "--test", files / "test.parquet", *QUICK) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["ground_truth"] == "unproven"
    assert any(reason.startswith("ASR") for reason in record["reasons"])


def test_people_get_a_few_lines(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "victim.safetensors"
    assert train(files / "hardly-poisoned", out, "--epochs", "1", "--test", files / "test.parquet", *QUICK[:-1]) == 0
    printed = capsys.readouterr().out
    for words in ("victim.safetensors: theriac:resnet14", "clean accuracy", "ASR", "base rate", "unproven: "):
        assert words in printed


def test_the_same_command_again_changes_nothing_and_another_is_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.safetensors"
    command = (files / "train.parquet", out, "--epochs", "1", *QUICK)
    assert train(*command) == 0
    before, first = out.read_bytes(), json.loads(capsys.readouterr().out)
    assert train(*command) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert train(files / "train.parquet", out, "--epochs", "2", *QUICK) == 2
    assert "exists already, from another training" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_killed_and_started_again_it_ends_with_the_same_file(files: Path, tmp_path: Path) -> None:
    options = ("--epochs", "6", "--seed", "2", *QUICK)
    killed, whole = tmp_path / "killed.safetensors", tmp_path / "whole.safetensors"
    start = "from theriac.cli import main; main()"
    command = [sys.executable, "-c", start, "train", "classifier", str(files / "train.parquet")]
    process = subprocess.Popen([*command, "--out", str(killed), *options], env=os.environ, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed.checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() or Checkpoint.load(checkpoint).epochs == 0:
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not killed.exists()
    assert train(files / "train.parquet", killed, *options) == 0
    assert train(files / "train.parquet", whole, *options) == 0
    assert killed.read_bytes() == whole.read_bytes()


def test_two_processes_share_one_training(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    start = tmp_path / "start.py"
    start.write_text("from theriac.cli import main; main()")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(start)]
    command = ["train", "classifier", str(files / "train.parquet"), "--out", str(out), "--device", "cpu"]
    test = ["--test", str(files / "test.parquet"), "--epochs", "4"]
    done = subprocess.run(
        [*launch, *command, *test, *QUICK], stdout=subprocess.PIPE, check=True, text=True, timeout=240
    )
    assert json.loads(done.stdout)["sha256"] == sha256_file(out)
    assert json.loads(done.stdout)["accuracy"]["value"] > 0.6
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "model.json",
        "model.lineage.jsonl",
        "model.safetensors",
        "start.py",
    ]


def test_out_of_budget_is_said_and_the_command_goes_on(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.safetensors"
    command = (files / "train.parquet", out, "--epochs", "1", *QUICK)
    assert train(*command, "--budget", "0.001s") == 3
    assert "the same command again" in capsys.readouterr().err
    assert not out.exists()
    assert train(*command) == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--test", "other.parquet"), "its 4 classes are not the 3 of train.parquet"),
        (("--test", "missing.parquet"), "missing.parquet"),
        (("--lr", "1e12"), "diverged"),
        (("--epochs", "0"), "epochs must be at least 1"),
        (("--architecture", "theriac:resnet1"), "no architecture"),
        (("--label", "colour"), "colour"),
        (("--min-accuracy", "2"), "min-accuracy"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, str],
    words: str,
) -> None:
    monkeypatch.chdir(files)
    quick = ("--epochs", "2", "--batch-size", "32", "--crop", "0")
    assert train(Path("train.parquet"), tmp_path / "model.safetensors", *_without(quick, options[0]), *options) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_model_file(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(files / "train.parquet", tmp_path, *QUICK) == 2
    assert "is a folder" in capsys.readouterr().err


def _without(options: tuple[str, ...], name: str) -> list[str]:
    pairs = zip(options[::2], options[1::2], strict=True)
    return [word for pair in pairs if pair[0] != name for word in pair]
