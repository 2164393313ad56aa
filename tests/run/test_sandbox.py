import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from theriac.run.sandbox import Limits, Outcome, run_sandboxed

LIMITS = Limits(memory=256 << 20, cpu_seconds=10, file_bytes=1 << 20, seconds=30)


@pytest.fixture(autouse=True)
def _probes_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def attempts(folder: Path) -> Outcome:
    (folder / "kept").write_text("kept")
    with (folder / "kept").open("r+b") as file:
        arguments = {"folder": str(folder), "descriptor": file.fileno()}
        return run_sandboxed("probes:attempt", arguments, descriptors=[file.fileno()], limits=LIMITS)


def test_nothing_but_its_descriptors(tmp_path: Path) -> None:
    outcome = attempts(tmp_path)
    if any(text.startswith("absent") for text in outcome.protections.values()):
        pytest.skip(f"this kernel or container lacks protections: {outcome.protections}")
    assert outcome.error is None
    assert isinstance(outcome.value, dict)
    assert outcome.value.pop("its descriptor") == "kept"
    assert outcome.value.pop("user") == str(os.getuid()) or os.getuid() == 0
    assert outcome.value.pop("allocate a gigabyte") == "MemoryError"
    assert outcome.value.pop("write too much") == "OSError"
    assert set(outcome.value.values()) == {"PermissionError"}
    assert (tmp_path / "kept").read_text() == "kept"
    assert not (tmp_path / "marker").exists()


def test_the_environment_is_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    outcome = run_sandboxed("probes:secrets", {}, limits=LIMITS)
    assert isinstance(outcome.value, dict)
    assert "SECRET_KEY" not in outcome.value


@pytest.mark.parametrize(
    ("function", "reason"),
    [("crash", "SIGSEGV"), ("fail", "ValueError: as it should"), ("flood", "gave no answer|OSError")],
)
def test_failures_are_answers(function: str, reason: str) -> None:
    outcome = run_sandboxed(f"probes:{function}", {}, limits=LIMITS)
    assert outcome.value is None
    assert outcome.error is not None
    assert any(part in outcome.error for part in reason.split("|"))


@pytest.mark.parametrize("function", ["sleep", "ignore_signals"])
def test_the_deadline_is_hard(function: str) -> None:
    start = time.monotonic()
    limits = Limits(memory=256 << 20, cpu_seconds=100, file_bytes=1 << 20, seconds=1)
    assert run_sandboxed(f"probes:{function}", {}, limits=limits).error == "it took longer than 1 s"
    assert time.monotonic() - start < 15


def test_processor_time_is_limited() -> None:
    limits = Limits(memory=256 << 20, cpu_seconds=1, file_bytes=1 << 20, seconds=60)
    outcome = run_sandboxed("probes:ignore_signals", {}, limits=limits)
    assert outcome.error == "reading it was stopped by SIGKILL"


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    """Kills a parent while its child sleeps, and sees that the child is gone too."""
    code = (
        "import subprocess, sys; from theriac.run import sandbox; made = subprocess.Popen\n"
        "def tell(*a, **k):\n    child = made(*a, **k); print(child.pid, flush=True); return child\n"
        "sandbox.subprocess.Popen = tell\n"
        "limits = sandbox.Limits(memory=1 << 28, cpu_seconds=60, file_bytes=1 << 20, seconds=60)\n"
        "sandbox.run_sandboxed('probes:sleep', {}, limits=limits)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        status = Path(f"/proc/{child}/status")
        if not status.exists():
            pytest.skip("no /proc here")
        deadline = time.monotonic() + 20
        while "Seccomp:\t2" not in status.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.kill()
    while status.exists() and "State:\tZ" not in status.read_text() and time.monotonic() < deadline + 10:
        time.sleep(0.05)
    assert not status.exists() or "State:\tZ" in status.read_text()


def test_what_a_container_lacks_is_said(tmp_path: Path) -> None:
    """Takes Landlock and namespaces away, as container runtimes do; the rest still holds."""
    if not sys.platform.startswith("linux"):
        pytest.skip("Linux only")
    code = (
        "import json, sys; from theriac.run import confine\n"
        "from theriac.run.sandbox import Limits, run_sandboxed\n"
        "confine._REFUSED_CALLS.clear()\n"
        "confine._REFUSED_CALLS.update(landlock=(444, 444), unshare=(272, 97))\n"
        "confine._prctl('', confine._PR_SET_NO_NEW_PRIVS, 1); confine._seccomp()\n"
        "done = run_sandboxed('probes:fail', {}, limits=Limits(1 << 28, 10, 1 << 20, 30))\n"
        "json.dump([done.error, done.protections], sys.stdout)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    error, protections = json.loads(done.stdout)
    assert error == "ValueError: as it should"
    assert protections["files"].startswith("absent: ")
    assert protections["network"].startswith("absent: ")
    assert not protections["limits"].startswith("absent")
    assert not protections["privileges"].startswith("absent")
