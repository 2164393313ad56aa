"""How fast is a manifest beside coreutils' sha256sum over the same files, on one core and on two?

    python benchmarks/hashing.py

Two folders are made: many small files and a few large ones. Each tool runs once unmeasured, so that all find the files
in memory, then in turns. On two cores sha256sum runs as two processes with half of the bytes each. Seconds are of the
clock and include the start of sha256sum's processes, about two milliseconds; ours run inside this process and include
listing the folder and the root. OpenSSL's tool is beside them because sha256sum is built without the processor's SHA
instructions on some systems.
"""

import argparse
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
    running = [subprocess.Popen([*command, *files[k::cores]], stdout=subprocess.DEVNULL) for k in range(cores)]
    if any(process.wait() for process in running):
        raise SystemExit(f"{command[0]} failed")


def measure(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Returns the seconds of each way, all of them run in turns, after one run that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - start)
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
        median = {name: statistics.median(each) for name, each in seconds.items()}
        times = {name: median[name] / median["theriac"] for name in peers}
        result[str(cores)] = {"seconds": seconds, "median": median, "times_as_fast_as": times}
    return result


def main() -> None:
    """Makes the files, times all tools, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=20_000, help="number of files of 4 KiB")
    parser.add_argument("--large", type=int, default=4, help="number of files of 256 MiB")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for title, count, size in (("4 KiB", arguments.small, 4 << 10), ("256 MiB", arguments.large, 256 << 20)):
            top = make(Path(temporary) / title, count, size, arguments.seed)
            figures[f"{count} files of {title}"] = {"bytes": count * size, "cores": compare(top, arguments.repeats)}
            shutil.rmtree(top)
    import recording  # it loads torch, beside whose objects Python's garbage collector would slow the measurement down

    version = subprocess.run(["sha256sum", "--version"], capture_output=True, text=True, check=True).stdout
    rows = []
    for title, figure in figures.items():
        for cores, measured in figure["cores"].items():
            for name, seconds in measured["median"].items():
                times = measured["times_as_fast_as"].get(name, 1.0)
                rows.append([title, int(cores), name, seconds, figure["bytes"] / seconds / 1e6, times])
    columns = ["files", "cores", "tool", "seconds", "MB per second", "theriac is times as fast"]
    path = recording.write(
        "hashing",
        "Hashing a folder beside sha256sum",
        seed=arguments.seed,
        tables=[recording.table("Median of the runs, files in memory", columns, rows)],
        figures={"coreutils": version.splitlines()[0], "folders": figures},
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
