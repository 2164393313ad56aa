"""Options that commands share, and how they print."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from theriac.errors import UserError
from theriac.run.budget import Budget, parse_duration
from theriac.run.device import pick_device
from theriac.run.progress import Progress

if TYPE_CHECKING:
    import torch

    from theriac.finding import Finding


@Parameter(name="*")
@dataclass(frozen=True)
class Run:
    """How a command runs.

    Args:
        seed: Seed of everything random.
        device: auto, cpu or cuda.
        budget: Wall-clock limit, for instance 90s or 10m; none by default.
        json: Print machine-readable output only.
    """

    seed: int = 0
    device: str = "auto"
    budget: str | None = None
    json: Annotated[bool, Parameter(negative="")] = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**53:  # what JSON holds exactly, and torch takes
            raise UserError(f"{self.seed} is not from 0 to 2^53 - 1", where="--seed")

    def limit(self) -> Budget:
        """Returns the budget, counting from now."""
        return Budget(None if self.budget is None else parse_duration(self.budget))

    def torch_device(self) -> "torch.device":
        """Returns the device, with the number of CPU threads set."""
        return pick_device(self.device)

    def generator(self) -> "torch.Generator":
        """Returns a seeded CPU generator."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """Shows a progress bar on stderr while the block runs; nothing with ``--json`` or without a terminal."""
        with progress_bar(title, hidden=self.json) as progress:
            yield progress


@contextmanager
def progress_bar(title: str, *, hidden: bool) -> Iterator[Progress]:
    """Shows a progress bar on stderr while the block runs; nothing if ``hidden`` or without a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True, disable=hidden or not console.is_terminal) as bars:
        task = bars.add_task(title, total=1.0)
        yield lambda share, step: bars.update(task, completed=share, description=f"{title}: {step}")


def print_json(value: Any) -> None:
    """Prints one JSON object on stdout."""
    json.dump(value, sys.stdout, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def printable(text: str) -> str:
    r"""Returns text from a file that others made with everything replaced that could steer a terminal.

    >>> printable("red \x1b[31m")
    'red �[31m'
    """
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)


def one_line(text: str) -> str:
    r"""Returns text from a file that others made as one line: else it could pretend to be a line of ours.

    >>> one_line("red\nNothing found.")
    'red�Nothing found.'
    """
    return printable(text).replace("\n", "\ufffd")


def print_finding(finding: "Finding", run: Run) -> None:
    """Prints one finding: as JSON, or as a few lines for people."""
    if run.json:
        print_json(finding.model_dump(mode="json"))
        return
    from theriac.report import summary

    summary([finding])
