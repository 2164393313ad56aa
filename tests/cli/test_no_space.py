"""A disk without space: one line, exit 2, nothing half-written. The limit on file sizes stands for a full disk."""

import subprocess
import sys
from pathlib import Path

import pytest

from theriac.sample import sample_system

resource = pytest.importorskip("resource", reason="limits of a process are POSIX")


def limited(kib: int, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "theriac", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (kib << 10, kib << 10)),
        timeout=300,
    )


@pytest.mark.parametrize(
    ("kib", "verb", "options"),
    [
        (1000, ("poison", "images"), ("poisoned", "--trigger", "patch", "--target", "0", "--rate", "0.1")),
        (1000, ("train", "classifier"), ("--out", "model.safetensors", "--epochs", "1")),
    ],
)
def test_no_space(kib: int, verb: tuple[str, ...], options: tuple[str, ...], tmp_path: Path) -> None:
    data = sample_system().training_data
    assert data is not None
    done = limited(kib, tmp_path, *verb, data.path, *options, "--seed", "0")
    assert done.returncode == 2, done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("theriac: ")
    assert said.endswith("File too large; free some space")
    assert "unexpected" not in said
    assert list(tmp_path.iterdir()) == []


def test_an_audit_that_cannot_copy_the_model_writes_nothing(tmp_path: Path) -> None:
    done = limited(1000, tmp_path, "audit", "--out", "out")
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []
