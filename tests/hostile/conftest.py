"""Every hostile file goes through open_model, some through the command line too; none may run anything."""

import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from theriac.errors import Refused
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
def refused(tmp_path: Path, marker: Path) -> Refusal:
    """Asserts that a file's bytes are refused soon, with a reason, running nothing; returns the reason."""

    def check(content: bytes) -> str:
        path = tmp_path / "model.pt"
        path.write_bytes(content)
        start = time.monotonic()
        with pytest.raises(Refused) as caught:
            open_model(str(path))
        assert not marker.exists()
        assert len(caught.value.what) > 10
        assert time.monotonic() - start < 60  # seconds, but the machine may be busy
        return caught.value.what

    return check
