"""What every benchmark writes: one JSON file of figures, with where they come from, and the tables to show."""

import datetime
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from theriac import __version__
from theriac.files import write_text

RESULTS = Path(__file__).parent / "results"


def table(title: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    """Returns a table for the docs; numbers stay numbers, ``tables.py`` rounds them."""
    return {"title": title, "columns": columns, "rows": rows}


def write(name: str, title: str, *, seed: int, tables: list[dict[str, Any]], figures: dict[str, Any]) -> Path:
    """Writes ``results/NAME.json`` and returns its path.

    Args:
        name: Name of the benchmark and of its file.
        title: One line for the docs.
        seed: Seed that everything random came from.
        tables: What ``tables.py`` shows.
        figures: All that was measured.
    """
    import torch  # here and below only: the processes that a benchmark starts import this module too

    record = {
        "title": title,
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_options()]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": seed,
        "machine": machine(),
        "versions": {"theriac": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "tables": tables,
        "figures": figures,
    }
    path = RESULTS / f"{name}.json"
    write_text(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def machine() -> str:
    """Returns the machine in words: the GPU if there is one, else the CPU, its cores and the threads in use."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _options() -> list[str]:
    """Returns the command's options without the folders of this machine."""
    return [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
