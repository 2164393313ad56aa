import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from theriac.cli import run
from theriac.errors import UserError
from theriac.models.architectures import build


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.pt"
    torch.save(build("theriac:resnet14", 3), path)
    return str(path)


@pytest.fixture
def evil(tmp_path: Path) -> str:
    path = tmp_path / "evil.pt"
    path.write_bytes(b"\x80\x02cposix\nsystem\nX\x0a\x00\x00\x00echo done >\x85R.")
    return str(path)


def test_a_safe_model(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", model, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["safe"] is True
    assert found["reason"] is None
    assert run(["inspect", model]) == 0
    printed = capsys.readouterr().out
    assert "safe to open" in printed
    assert "theriac:resnet14 with 3 classes" in printed


def test_a_hostile_model(evil: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", evil, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["safe"] is False
    assert "posix.system" in found["reason"]
    assert run(["inspect", evil]) == 2
    assert "REFUSED" in capsys.readouterr().out


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none.pt")
    assert run(["inspect", missing, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["safe"] is False
    assert run(["inspect", missing]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_torch_is_not_imported(model: str) -> None:
    code = "import sys; from theriac.cli import run; run(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "inspect", model], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_debug_shows_the_error_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        run(["inspect", str(tmp_path / "absent.pt"), "--debug"])


def test_a_bug_does_not_say_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("theriac.cli._dispatch", lambda argv: 1 / 0)
    assert run(["inspect", "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
