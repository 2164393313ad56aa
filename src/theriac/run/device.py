"""Choosing the device and the number of CPU threads.

Importing torch is left to the functions: the command line's help must not pay for it.
"""

import json
import os
import time
from typing import TYPE_CHECKING

from theriac.errors import UserError
from theriac.files import cache_folder

if TYPE_CHECKING:
    import torch


def pick_device(name: str = "auto") -> "torch.device":
    """Returns the device called ``name``: ``auto`` (CUDA when there is one), ``cpu`` or ``cuda``.

    Raises:
        UserError: If the name is unknown or the device is absent.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"unknown device {name!r}", where="--device", do="use auto, cpu or cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("no CUDA device is available", where="--device", do="use --device cpu")
    if name == "cpu":
        torch.set_num_threads(threads())
    return torch.device(name)


def threads() -> int:
    """Returns the number of torch threads that is fastest on this machine.

    It is at most half of the cores: threads that share a core with another program wait for each other by spinning,
    which was seen to slow training down 20 times. It is measured once and kept in the user's cache folder, so that
    runs on one machine stay comparable. ``THERIAC_THREADS`` overrides it.
    """
    if value := os.environ.get("THERIAC_THREADS"):
        if not value.isdigit() or int(value) < 1:
            raise UserError(f"{value!r} is not a number of threads", where="THERIAC_THREADS", do="use 1, 2, …")
        return int(value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 4:
        return 1
    store = cache_folder() / f"threads-{cores}.json"
    try:
        return min(max(1, int(json.loads(store.read_text())["threads"])), cores // 2)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    best = _measure(cores)
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(json.dumps({"threads": best}))
    except OSError:
        pass  # a read-only home only costs measuring again
    return best


def _measure(cores: int) -> int:
    import torch

    layer = torch.nn.Conv2d(32, 32, 3, padding=1)
    x = torch.zeros(32, 32, 32, 32)
    before, seconds = torch.get_num_threads(), {}
    for n in sorted({1, cores // 4, cores // 2}):
        torch.set_num_threads(n)
        layer(x)
        runs = []
        for _ in range(5):
            start = time.perf_counter()
            layer(x).sum().backward()
            runs.append(time.perf_counter() - start)
        seconds[n] = sorted(runs)[2]
    torch.set_num_threads(before)
    return min(seconds, key=lambda n: seconds[n] * (1.0 + 0.02 * n))  # a near tie goes to fewer threads


def multiplies_bfloat16(device: "torch.device") -> bool:
    """Returns whether ``device`` multiplies bfloat16 natively; elsewhere emulating it costs more than it saves."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
