"""The child's side of the sandbox: a process gives up, for good, whatever it does not need.

Linux offers Landlock (files, TCP, signals), namespaces (network) and seccomp (system calls) to unprivileged processes.
Each is asked for by itself, because containers and old kernels lack some; what is in force is returned, never assumed.
Only the standard library is imported.
"""

import ctypes
import importlib
import json
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446  # the same numbers on every architecture
_NOBODY = 65534

# Starting processes, sockets, tracing, mounting, loading code into the kernel: (x86_64, aarch64) numbers.
_REFUSED_CALLS = {
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435), "execve": (59, 221),
    "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kill": (62, 129), "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211),
    "io_uring_setup": (425, 425), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "bpf": (321, 280),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "mount": (165, 40), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_by_handle_at": (304, 265), "kexec_load": (246, 104),
    "init_module": (175, 105), "finit_module": (313, 273),
}  # fmt: skip
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}


def confine(memory: int, cpu_seconds: int, file_bytes: int) -> dict[str, str]:
    """Confines this process; it keeps the file descriptors that it has, and can open nothing more.

    Args:
        memory: Bytes that it may allocate from now on.
        cpu_seconds: Seconds of processor time after which the kernel kills it.
        file_bytes: Largest size of a file that it may write.

    Returns:
        Protection -> what is in force, or ``"absent: …"`` with the kernel's reason.
    """
    steps: dict[str, Callable[[], str]] = {
        "limits": lambda: _limit(memory, cpu_seconds, file_bytes),
        "network": _leave_network,
        "parent": lambda: _prctl("ends with its parent", _PR_SET_PDEATHSIG, signal.SIGKILL),
        "privileges": lambda: _prctl("can never gain any", _PR_SET_NO_NEW_PRIVS, 1),
        "files": _landlock,
        "system calls": _seccomp,
    }
    in_force = {}
    for name, step in steps.items():
        try:
            in_force[name] = step()
        except (OSError, ValueError, AttributeError) as error:
            in_force[name] = f"absent: {getattr(error, 'strerror', None) or error}"
    return in_force


def main() -> None:
    """Runs one function of ours in this process, confined, as :func:`theriac.run.sandbox.run_sandboxed` asks."""
    task = json.loads(sys.argv[1])
    function = getattr(importlib.import_module(task["module"]), task["function"])
    reply: dict[str, Any] = {"protections": confine(**task["limits"])}
    try:
        reply["value"] = function(**task["arguments"])
    except MemoryError:
        reply["error"] = "it needs more memory than it may use"
    except Exception as error:  # whatever a hostile file provokes is an answer, not a crash
        reply["error"] = f"{type(error).__name__}: {error}"[:500]
    with open(task["reply"], "w", encoding="utf-8", errors="replace") as file:
        json.dump(reply, file)


def _libc() -> ctypes.CDLL:
    if not sys.platform.startswith("linux"):
        raise OSError(f"not offered by {platform.system()}")
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _syscall(number: int, *arguments: Any) -> int:
    return _checked(_libc().syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)))


def _prctl(effect: str, option: int, value: int, pointer: Any = None) -> str:
    unused = ctypes.c_ulong(0)
    third = unused if pointer is None else pointer
    _checked(_libc().prctl(option, ctypes.c_ulong(value), third, unused, unused))
    return effect


def _leave_network() -> str:
    try:
        _checked(_libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNET))
    except OSError:
        if os.geteuid() == 0:  # a container's root may not make namespaces but can still stop being root
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        raise
    return "own empty namespace"


def _limit(memory: int, cpu_seconds: int, file_bytes: int) -> str:
    limits = {"CPU": cpu_seconds, "FSIZE": file_bytes, "NPROC": 0, "CORE": 0}
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", "rb") as file:
            limits["AS"] = int(file.read().split()[0]) * resource.getpagesize() + memory
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    space = f"{memory >> 20} MiB of memory, " if "AS" in limits else ""
    return f"{space}{cpu_seconds} s of processor, files of {file_bytes >> 20} MiB, no processes"


def _landlock() -> str:
    abi = _syscall(_LANDLOCK_CREATE, None, 0, 1)
    files = (1 << (13 if abi == 1 else 14 if abi == 2 else 15 if abi < 5 else 16)) - 1
    wanted = [files, *([3] if abi >= 4 else []), *([3] if abi >= 6 else [])]  # TCP; abstract sockets and signals
    attributes = struct.pack(f"{len(wanted)}Q", *wanted)
    ruleset = _syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    _syscall(_LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)
    more = ("; no TCP" if abi >= 4 else "") + ("; no abstract sockets, no signals" if abi >= 6 else "")
    return f"Landlock ABI {abi}: none can be opened{more}"


def _seccomp() -> str:
    if platform.machine() not in _MACHINES:
        raise OSError(f"no table for {platform.machine()}")
    machine, column = _MACHINES[platform.machine()]
    numbers = [pair[column] for pair in _REFUSED_CALLS.values() if pair[column] is not None]

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    program = [step(load, 0, 0, 4), step(equal, 1, 0, machine), step(give, 0, 0, 0x80000000), step(load, 0, 0, 0)]
    checks = [(at_least, 0x40000000)] if column == 0 else []  # the x32 variants of the same calls
    checks += [(equal, number) for number in numbers if number is not None]
    program += [step(code, len(checks) - k, 0, value) for k, (code, value) in enumerate(checks)]
    program += [step(give, 0, 0, 0x7FFF0000), step(give, 0, 0, 0x00050001)]  # allow; or fail with EPERM
    code = ctypes.create_string_buffer(b"".join(program))
    pointer = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    effect = f"seccomp: {len(numbers)} refused (processes, sockets, tracing, mounts)"
    return _prctl(effect, _PR_SET_SECCOMP, 2, pointer)
