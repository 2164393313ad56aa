"""What a confined process tries; the sandbox runs these functions."""

import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path


def attempt(folder: str, descriptor: int) -> dict[str, str]:
    """Tries everything that a confined process must not do; returns what came of it."""
    tries: dict[str, Callable[[], object]] = {
        "read a file": lambda: Path("/etc/passwd").read_bytes(),
        "write a file": lambda: Path(folder, "marker").write_text("x"),
        "list a folder": lambda: os.listdir("/"),
        "remove a file": lambda: os.unlink(Path(folder, "kept")),
        "fork": os.fork,
        "execute": lambda: os.execv("/bin/true", ["true"]),
        "use the network": lambda: socket.socket(),
        "signal its parent": lambda: os.kill(os.getppid(), 0),
        "allocate a gigabyte": lambda: bytearray(1 << 30),
        "write too much": lambda: os.pwrite(descriptor, b"x", 1 << 30),
    }
    results = {"its descriptor": os.pread(descriptor, 5, 0).decode()}
    for name, action in tries.items():
        try:
            action()
            results[name] = "done"
        except (OSError, MemoryError) as error:
            results[name] = type(error).__name__
    results["user"] = str(os.getuid())
    return results


def secrets() -> dict[str, str]:
    return dict(os.environ)


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(60)


def crash() -> None:
    ctypes.string_at(0)


def fail() -> None:
    raise ValueError("as it should")


def flood() -> str:
    return "x" * (80 << 20)


def ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    spin()
