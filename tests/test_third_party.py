"""A detector and a task of somebody else, really installed: they take part without a change in theriac."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = '''
"""A detector and a task that theriac has never heard of."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from theriac.detect.inputs.base import LayerDetector
from theriac.tasks.task import Mixture, Task
from theriac.tasks.vectors import VectorClassifier, Vectors


@dataclass
class Surprise(LayerDetector):
    """Scores inputs by how far the logits are from those of trusted inputs.

    Args:
        power: Of the distance.
    """

    power: float = 2.0

    name: ClassVar[str] = "surprise"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "nobody, never"
    learned: ClassVar[tuple[str, ...]] = ("centre_",)

    def chosen_layers(self, model):
        return (model.head()[0],)

    def _learn(self, trusted, untrusted, anomalous):
        self.centre_ = torch.cat([seen.rows[self.layers_[0]] for seen in trusted]).mean(0)

    def _score(self, seen):
        layer = self.layers_[0]
        return {layer: (seen.rows[layer] - self.centre_).abs().pow(self.power).sum(1)}


@dataclass(frozen=True)
class Shifted:
    """Rows of numbers that are elsewhere when they are anomalous.

    Args:
        shift: How far.
    """

    shift: float = 4.0

    name: ClassVar[str] = "shifted"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "nobody, never"

    def make(self, folder, *, seed=0, device="cpu", budget=None, progress=lambda share, step: None):
        generator = torch.Generator().manual_seed(seed)
        def rows(count):
            return Vectors(torch.randn(count, 4, generator=generator), torch.zeros(count).long(), "rows", "0" * 64)
        def mixed(count):
            inputs, odd = rows(count), torch.arange(count) % 2 == 1
            inputs.values[odd] += self.shift
            return Mixture(inputs, odd)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = VectorClassifier(4, ("a", "b")).eval().to(device)
        return Task(self.name, seed, model, rows(200), mixed(100), mixed(200))
'''


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is installed as pip would leave it."""
    site = tmp_path_factory.mktemp("site")
    (site / "surprising.py").write_text(MODULE)
    record = site / "surprising-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: surprising\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text(
        "[theriac.detectors.inputs]\nsurprise = surprising:Surprise\n[theriac.tasks]\nshifted = surprising:Shifted\n"
    )
    path = os.pathsep.join([str(site), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path.strip(os.pathsep)}


def python(environment: dict[str, str], *arguments: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_both_are_listed_and_measured(elsewhere: dict[str, str], tmp_path: Path) -> None:
    listed = json.loads(python(elsewhere, "-m", "theriac", "methods", "surprise", "--json", cwd=tmp_path))
    assert [(m["family"], m["settings"]["power"]) for m in listed] == [("input detector", "2.0")]
    assert "shifted" in python(elsewhere, "-m", "theriac", "tasks", "--json", cwd=tmp_path)
    command = "bench --tasks shifted --detectors surprise,mahalanobis --seeds 1 --out out --json"
    text = python(elsewhere, "-m", "theriac", *command.split(), "--set", "surprise.power=1", cwd=tmp_path)
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["task"], line["detector"]) for line in lines] == [("shifted", "surprise"), ("shifted", "mahalanobis")]
    assert all(line["auroc"] > 0.9 for line in lines)


def test_the_conformance_tests_take_the_detector_in(elsewhere: dict[str, str]) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-n", "0", "tests/conformance", "-k", "input and surprise"]
    shown = python(elsewhere, "-m", "pytest", *options)
    assert " passed" in shown
    assert int(shown.split(" passed")[0].split()[-1]) >= 4
