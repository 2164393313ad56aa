import shutil
import sys
import threading
from datetime import UTC, datetime

import pytest

from theriac.provenance import Artifact, Evidence, Issuer, SigningKey, Store, describe_system, read_policy

PAST = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def key():
    return SigningKey.from_seed(bytes([1]) * 32)


@pytest.fixture
def stranger():
    return SigningKey.from_seed(bytes([2]) * 32)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """The file of a store with nothing in it; copying it is quicker than making one."""
    path = tmp_path_factory.mktemp("empty") / "store.sqlite"
    Store(path, write=True).close()
    return path


@pytest.fixture
def store(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "evidence.sqlite")
    with Store(tmp_path / "evidence.sqlite", write=True) as opened:
        yield opened


@pytest.fixture
def issuer(key, store):
    return Issuer(key, store)


def artifact(name):
    """Bytes that exist in name only: their digest is made from it."""
    return Artifact(name, "sha256:" + name.encode().hex().ljust(64, "0")[:64], name)


@pytest.fixture
def evidence():
    return Evidence("spectral signatures", "1", 0.98, threshold=0.5)


@pytest.fixture
def described(issuer):
    return describe_system(
        issuer,
        "road signs",
        weights=artifact("model.safetensors"),
        data=[artifact("20mph"), artifact("30mph")],
        training_code=artifact("train.py"),
        inference_code=artifact("serve.py"),
        settings={"architecture": "resnet18", "classes": 10},
    )


@pytest.fixture
def policy(tmp_path):
    """Makes a trust policy of issuers, each given by its fields but the name."""

    def make(*issuers):
        path = tmp_path / "policy.toml"
        tables = (f'[[issuer]]\nname = "issuer {n}"\n{fields}\n' for n, fields in enumerate(issuers))
        path.write_text("version = 1\n" + "".join(tables))
        return read_policy(path)

    return make


_seen, _watching, _hooked = [], [], []


def _watch(event, arguments):
    if _watching and event.split(".")[0] in ("subprocess", "os", "pty", "open", "socket", "shutil"):
        _seen.append((event, repr(arguments), threading.get_ident()))


@pytest.fixture
def watched():
    """Records every file opened, program started and connection made, as (event, arguments, thread)."""
    if not _hooked:
        sys.addaudithook(_watch)  # cannot be removed, but is idle outside the test
        _hooked.append(True)
    _seen.clear()
    _watching.append(True)
    yield _seen
    _watching.clear()
