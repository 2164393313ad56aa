"""How fast is a manifest beside coreutils' sha256sum over the same files, on one core and on two?

    python benchmarks/hashing.py

Two folders are made: many small files and a few large ones. Each tool runs once unmeasured, so that all find the files
in memory, then in turns. Speed per core is by processor seconds, on which the load by other programs falls less than on
those of the clock; how well two cores are used only the clock tells, on a quiet machine. On two cores sha256sum runs as
two processes with half of the files each. Ours includes listing the folder and the root. OpenSSL's tool is beside them
because sha256sum is built without the processor's SHA instructions on some systems.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from theriac.manifest import build

CORES = (1, 2)
PEERS = {"sha256sum": ["sha256sum"], "openssl": ["openssl", "dgst", "-sha256", "-r"]}


def make(top: Path, count: int, size: int, seed: int) -> Path:
    """Writes ``count`` files of ``size`` random bytes, a thousand to a folder."""
    generator = random.Random(seed)
    for k in range(count):
        file = top / f"{k // 1000:03}" / f"{k:06}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            for start in range(0, size, 1 << 20):
                opened.write(generator.randbytes(min(1 << 20, size - start)))
    return top


def peer(command: list[str], files: list[str], cores: int) -> None:
    """Runs a tool over the files, in ``cores`` processes at a time."""
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for k in range(cores):  # xargs, as more files than fit into a command line
            listed = Path(folder) / str(k)
            listed.write_text("\0".join(files[k::cores]))
            whole = ["xargs", "-0", "-a", str(listed), *command]
            running.append(subprocess.Popen(whole, stdout=subprocess.DEVNULL))
        if any(process.wait() for process in running):
            raise SystemExit(f"{command[0]} failed")


def measure(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Returns the seconds of each way, by clock and by processor, run in turns after one run that is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            start, used = time.perf_counter(), sum(os.times()[:4])
            way()
            if turn:
                seconds[name].append((time.perf_counter() - start, sum(os.times()[:4]) - used))
    return seconds


def compare(top: Path, repeats: int) -> dict[str, Any]:
    """Returns median seconds per tool and number of cores on one folder, and how many times as fast ours is."""
    files = sorted(str(path) for path in top.rglob("*.bin"))
    peers = {name: command for name, command in PEERS.items() if shutil.which(command[0])}
    result: dict[str, Any] = {}
    for cores in CORES:
        ways: dict[str, Callable[[], object]] = {"theriac": lambda n=cores: build(top, workers=n)}
        ways |= {name: lambda c=command, n=cores: peer(c, files, n) for name, command in peers.items()}
        seconds = measure(ways, repeats)
        clock = {name: statistics.median(each for each, _ in pairs) for name, pairs in seconds.items()}
        used = {name: statistics.median(each for _, each in pairs) for name, pairs in seconds.items()}
        result[str(cores)] = {
            "seconds": seconds,
            "median_clock": clock,
            "median_processor": used,
            "per_core_times_as_fast_as": {name: used[name] / used["theriac"] for name in peers},
        }
    return result


def main() -> None:
    """Makes the files, times all tools, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=100_000, help="number of files of 4 KiB")
    parser.add_argument("--middle", type=int, default=8_000, help="number of files of 128 KiB, as photographs are")
    parser.add_argument("--large", type=int, default=4, help="number of files of 256 MiB")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        for title, count, size in (
            ("4 KiB", arguments.small, 4 << 10),
            ("128 KiB", arguments.middle, 128 << 10),
            ("256 MiB", arguments.large, 256 << 20),
        ):
            top = make(Path(temporary) / title, count, size, arguments.seed)
            figures[f"{count} files of {title}"] = {"bytes": count * size, "cores": compare(top, arguments.repeats)}
            shutil.rmtree(top)
    import recording  # it loads torch, beside whose objects Python's garbage collector would slow the measurement down

    version = subprocess.run(["sha256sum", "--version"], capture_output=True, text=True, check=True).stdout
    rows = []
    for title, figure in figures.items():
        for cores, measured in figure["cores"].items():
            for name, clock in measured["median_clock"].items():
                used = measured["median_processor"][name]
                times = measured["per_core_times_as_fast_as"].get(name, 1.0)
                rows.append([title, int(cores), name, clock, used, figure["bytes"] / used / 1e6, times])
    columns = ["files", "cores", "tool", "seconds", "processor seconds", "MB per processor second"]
    columns.append("theriac is times as fast per core")
    path = recording.write(
        "hashing",
        "Hashing a folder beside sha256sum",
        seed=arguments.seed,
        tables=[recording.table("Median of the runs, files in memory", columns, rows)],
        figures={"coreutils": version.splitlines()[0], "load_before": load, "folders": figures},
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
