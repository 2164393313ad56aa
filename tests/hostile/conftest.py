"""Every hostile file goes through the command line and through open_model; none may run anything."""

import json
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.errors import UserError
from theriac.models.opening import open_model

Refusal = Callable[[bytes], str]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that every payload tries to write."""
    return tmp_path / "marker"


@pytest.fixture
def torch_zip(tmp_path: Path) -> Callable[[bytes, Mapping[str, bytes]], bytes]:
    """Packs a pickle and storages as torch.save does, by hand."""

    def pack(pickled: bytes, storages: Mapping[str, bytes]) -> bytes:
        path = tmp_path / "packed.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
            archive.writestr("archive/byteorder", "little")
            for key, data in storages.items():
                archive.writestr(f"archive/data/{key}", data)
            archive.writestr("archive/version", "3\n")
        return path.read_bytes()

    return pack


@pytest.fixture
def refused(tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Asserts that a file's bytes are refused everywhere, soon, with a reason, running nothing; returns the reason."""

    def check(content: bytes) -> str:
        path = tmp_path / "model.pt"
        path.write_bytes(content)
        start = time.monotonic()
        capsys.readouterr()
        assert run(["inspect", str(path), "--json"]) == 2
        answer = json.loads(capsys.readouterr().out)
        assert answer["safe"] is False
        assert len(answer["reason"]) > 10
        with pytest.raises(UserError) as caught:
            open_model(str(path), architecture="theriac:resnet14")
        assert caught.value.what == answer["reason"]
        assert not marker.exists()
        assert time.monotonic() - start < 60  # "within seconds", on a machine that may be busy
        reason: str = answer["reason"]
        return reason

    return check
