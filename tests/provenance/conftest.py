from datetime import UTC, datetime

import pytest

from theriac.provenance import Artifact, Evidence, Issuer, SigningKey, Store, describe_system

PAST = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def key():
    return SigningKey.from_seed(bytes([1]) * 32)


@pytest.fixture
def stranger():
    return SigningKey.from_seed(bytes([2]) * 32)


@pytest.fixture
def store(tmp_path):
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
