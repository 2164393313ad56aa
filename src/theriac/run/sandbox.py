"""Running one function of ours, on data that nobody trusts, in a child process that can do nothing else.

The child starts from a clean interpreter (nothing of the parent's memory is in it), imports the function's module,
gives up its rights (:mod:`theriac.run.confine`) and only then looks at the data, through file descriptors that the
parent opened for it.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pydantic import JsonValue

import theriac
from theriac.errors import UserError

_MAX_REPLY = 64 << 20
_START = (
    "import json, sys; sys.path[:0] = json.loads(sys.argv[1])['path']; from theriac.run.confine import main; main()"
)


@dataclass(frozen=True)
class Limits:
    """What the child may use.

    Attributes:
        memory: Bytes that it may allocate after its imports.
        cpu_seconds: Seconds of processor time.
        file_bytes: Largest size of a file that it may write.
        seconds: Wall-clock seconds, after which its whole process group is killed.
    """

    memory: int
    cpu_seconds: int
    file_bytes: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What came of a sandboxed call.

    Attributes:
        value: What the function returned; ``None`` if it failed.
        error: Why it failed; ``None`` if it returned.
        protections: Protection -> what was in force, or ``"absent: …"``.
    """

    value: JsonValue
    error: str | None
    protections: dict[str, str]


def run_sandboxed(
    target: str, arguments: Mapping[str, JsonValue], *, descriptors: Sequence[int] = (), limits: Limits
) -> Outcome:
    """Calls a function of ours in a confined child process and waits for it.

    Args:
        target: ``"module:function"``; it must come from our own code, never from the data.
        arguments: Keyword arguments; numbers of ``descriptors`` are how the function gets at its files.
        descriptors: Open file descriptors that the child inherits; it can open nothing else.
        limits: What the child may use.

    Returns:
        The function's JSON value or the reason of its failure. The child's death, for whatever cause, is such a
        failure, not an exception.

    Raises:
        UserError: If no child process can be started.
    """
    module, _, function = target.partition(":")
    confined = {key: value for key, value in asdict(limits).items() if key != "seconds"}
    path = [str(Path(theriac.__file__).parents[1]), *(entry for entry in sys.path if os.path.isabs(entry))]
    with tempfile.TemporaryFile() as reply:
        task = {
            "module": module,
            "function": function,
            "arguments": dict(arguments),
            "limits": confined,
            "path": path,
            "reply": reply.fileno(),
        }
        command = [sys.executable, "-I", "-S", "-c", _START, json.dumps(task)]
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(*descriptors, reply.fileno()),
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(f"cannot start a sandboxed process: {error}", do="free some memory") from None
        return _outcome(_ended(child, limits.seconds), child, reply, limits)


def _ended(child: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Waits for the child and kills what is left of its process group; returns whether it ended by itself in time."""
    in_time = True
    try:
        handle = os.pidfd_open(child.pid)
        try:
            waiting = select.poll()
            waiting.register(handle, select.POLLIN)
            in_time = bool(waiting.poll(1000 * seconds))
        finally:
            os.close(handle)
    except (OSError, AttributeError):  # no pidfd in this kernel or on this system
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            in_time = False
    finally:
        if child.returncode is None:  # its leader is not reaped yet, so the group's number is still its own
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return in_time


def _outcome(in_time: bool, child: "subprocess.Popen[bytes]", reply: IO[bytes], limits: Limits) -> Outcome:
    reply.seek(0)
    text = reply.read(_MAX_REPLY + 1)
    if not in_time:
        return Outcome(None, f"it took longer than {limits.seconds:.0f} s", {})
    if child.returncode < 0:
        return Outcome(None, f"reading it was stopped by {signal.Signals(-child.returncode).name}", {})
    try:
        answer = json.loads(text) if len(text) <= _MAX_REPLY else {}
        return Outcome(answer.get("value"), answer.get("error"), answer["protections"])
    except (ValueError, KeyError):
        return Outcome(None, f"the sandboxed process gave no answer (status {child.returncode})", {})
