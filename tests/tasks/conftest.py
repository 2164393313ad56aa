"""One tiny backdoor task, made once; it is only read."""

from pathlib import Path
from typing import Any

import pytest

from theriac.tasks.variants import Patch

TINY: dict[str, Any] = {
    "size": 24,
    "classes": 4,
    "rows": 400,
    "epochs": 5,
    "batch_size": 32,
    "trusted": 60,
    "untrusted": 50,
    "test": 20,
}


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Settings with which a task takes about a second."""
    return dict(TINY)


@pytest.fixture(scope="session")
def patch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks") / "patch"
    Patch(**TINY).make(folder, seed=3)
    return folder
