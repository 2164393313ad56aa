"""``theriac tasks`` from the outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.tasks import TASKS
from theriac.tasks.files import open_task

QUICK = ["--set", "steps=60", "--set", "trusted=50", "--set", "untrusted=20", "--set", "test=30"]


def test_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "--json"]) == 0
    listed = {task["name"]: task for task in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(TASKS)
    assert {"corner", "noise", "patch", "blend", "sinusoid", "warp", "source-specific", "ablation"} <= set(listed)
    assert listed["source-specific"]["settings"]["sources"] == [1]
    assert listed["corner"]["settings"]["parameters"] == {}
    assert run(["tasks"]) == 0
    assert "adversarial" in capsys.readouterr().out


def test_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "toy"]) == 0
    assert "noise = 0.1" in capsys.readouterr().out


def test_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tasks", "toy", "--out", str(tmp_path / "toy"), "--seed", "5", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "task toy, seed 5" in said
    assert "accuracy" in said
    assert run(["tasks", "toy", "--out", str(tmp_path / "toy"), "--seed", "5", *QUICK, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["about"]["accuracy"] == open_task(tmp_path / "toy").about["accuracy"]
    assert run(["tasks", "toy", "--out", str(tmp_path / "toy"), *QUICK]) == 2
    assert "is of seed 5, not 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no task 'nothing'; theriac tasks lists them all"),
        (["nothing", "--out", "x"], "choose one of: ablation, adversarial, blend"),
        (["toy", "--out", "x", "--set", "colour=1"], "no hyper-parameter 'colour=1'"),
        (["toy", "--set", "noise=1"], "name the folder with --out"),
        (["--out", "x"], "name the task"),
        (["corner", "--out", "x", "--set", "share=2"], "share must be from 0 to below 1"),
        (["corner", "--out", "x", "--set", "rate=1"], "no clean row would be left"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [str(tmp_path / a) if a == "x" else a for a in arguments]
    assert run(["tasks", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_out_of_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "rows=64", "--set", "trusted=4", "--set", "untrusted=4", "--set", "test=2"]
    assert run(["tasks", "corner", "--out", str(tmp_path / "c"), "--budget", "0.001s", *small]) == 3
    assert "give the same command again to go on" in capsys.readouterr().err


def test_a_third_party_task_appears(tmp_path: Path) -> None:
    """Installed through an entry point, it is listed and made without a change here."""
    (tmp_path / "strange.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from theriac.tasks.toy import Toy\n"
        "@dataclass(frozen=True)\n"
        "class Louder(Toy):\n"
        '    """Toy features with more noise."""\n'
        '    name: ClassVar[str] = "louder"\n'
        "    noise: float = 0.2\n"
    )
    info = tmp_path / "strange-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[theriac.tasks]\nlouder = strange:Louder\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "theriac", "tasks", "louder", "--out", str(tmp_path / "out"), "--json", *QUICK]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["task"] == "louder"
