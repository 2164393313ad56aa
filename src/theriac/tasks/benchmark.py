"""Tasks x detectors x seeds: what is still to be measured, measured one task after the other, here or elsewhere.

All detectors of one task and seed share its model and one forward pass, so a task with its seed is the unit of work.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from theriac import __version__
from theriac.detect.inputs import METHODS
from theriac.errors import Inapplicable, UserError
from theriac.files import sha256_file
from theriac.registry import configured, settings_of
from theriac.run.device import pick_device
from theriac.run.journal import key_of
from theriac.run.progress import Progress, silent, span
from theriac.tasks import TASKS
from theriac.tasks.files import RECORD, open_task, read_record
from theriac.tasks.measuring import REPEATS, measure
from theriac.tasks.results import Result, Results
from theriac.tasks.task import Mixture, Task
from theriac.tasks.watching import Watched

MEASURING = "1"
"""Version of what is measured: results of another are measured anew."""

QUICK_INPUTS, QUICK_REPEATS = 400, 200
"""Most inputs of a set, and draws of an interval, in a quick benchmark."""


@dataclass(frozen=True)
class Contender:
    """A detector that takes part: its name, its settings as ``name=value``, and the key of its result."""

    name: str
    settings: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Pair:
    """A task with a seed and the detectors to be measured on it; plain values, to be sent to another process.

    Attributes:
        task: Name of the task.
        settings: Of its maker, as ``name=value``.
        seed: Of everything random in it.
        folder: Where it is, or is made.
        made: Whether ``folder`` was given, finished.
        detectors: What is measured on it.
        device: Name of the device.
        quick: Whether on fewer inputs.
    """

    task: str
    settings: tuple[str, ...]
    seed: int
    folder: Path
    made: bool
    detectors: tuple[Contender, ...]
    device: str = "auto"
    quick: bool = False


def offline_tasks() -> list[str]:
    """Returns the tasks that need nothing from elsewhere."""
    return [name for name in TASKS if getattr(TASKS[name], "offline", True)]


def pairs_of(
    tasks: Sequence[str],
    detectors: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    settings: Mapping[str, Sequence[str]],
    *,
    device: str = "auto",
    quick: bool = False,
) -> list[Pair]:
    """Returns all that is to be measured.

    Args:
        tasks: Names of tasks, or folders of finished ones, which have their own seed.
        detectors: Names of detectors.
        seeds: Seeds of the tasks that are made.
        out: Tasks are made below it.
        settings: Task or detector -> its settings, as ``name=value``.
        device: Name of the device.
        quick: Use fewer inputs and the quick settings that tasks and detectors name.

    Raises:
        UserError: If a name or a setting is unknown.
    """
    contenders = []
    for name in detectors:
        chosen = _settings(METHODS[name], settings.get(name, ()), quick)
        configured(METHODS[name], chosen)
        contenders.append(Contender(name, chosen))
    pairs: list[Pair] = []
    out = out.absolute()  # another process may have another working folder
    for name in tasks:
        if (Path(name) / RECORD).is_file():
            record = read_record(Path(name))
            place = (record.task, (), record.seed, Path(name).absolute(), True)
            identity: Any = sha256_file(Path(name) / RECORD)
            pairs.append(_keyed(Pair(*place, tuple(contenders), device, quick), identity))
            continue
        chosen = _settings(TASKS[name], settings.get(name, ()), quick)
        identity = {"version": TASKS[name].version, "settings": settings_of(configured(TASKS[name], chosen))}
        for seed in seeds:
            folder = out / "tasks" / f"{name}-{key_of(identity)[:8]}-{seed}"
            pair = Pair(name, chosen, seed, folder, False, tuple(contenders), device, quick)
            pairs.append(_keyed(pair, identity))
    return pairs


def pending(pairs: Sequence[Pair], known: Results) -> list[Pair]:
    """Returns what of ``pairs`` has no sound result yet."""
    left = (replace(p, detectors=tuple(c for c in p.detectors if known.get(c.key) is None)) for p in pairs)
    return [pair for pair in left if pair.detectors]


def run_pair(pair: Pair, progress: Progress = silent) -> Iterator[Result]:
    """Yields the result of each detector when it is known; one that fails says why and does not stop the others."""
    try:
        task = opened(pair, span(progress, 0.0, 0.5))
        made = {c.key: configured(METHODS[c.name], c.settings) for c in pair.detectors}
        watched = Watched(task, list(made.values()))
    except Exception as error:  # one task that cannot be made must not stop the rest
        for contender in pair.detectors:
            yield failed(pair, contender, error)
        return
    for done, contender in enumerate(pair.detectors):
        progress(0.5 + done / len(pair.detectors) / 2, contender.name)
        try:
            repeats = QUICK_REPEATS if pair.quick else REPEATS
            yield measure(task, made.pop(contender.key), watched, key=contender.key, repeats=repeats).result
        except Exception as error:  # nor may one detector, whoever wrote it
            yield failed(pair, contender, error)


def opened(pair: Pair, progress: Progress = silent) -> Task:
    """Returns the task of ``pair``, made if need be.

    Raises:
        UserError: If it cannot be made.
    """
    device = pick_device(pair.device)
    if pair.made:
        task = open_task(pair.folder, device)
    else:
        maker = configured(TASKS[pair.task], pair.settings)
        task = maker.make(pair.folder, seed=pair.seed, device=device, progress=progress)
    return lessened(task, QUICK_INPUTS) if pair.quick else task


def lessened(task: Task, most: int) -> Task:
    """Returns ``task`` with at most ``most`` inputs in each set, both kinds in their proportion."""

    def some(mixture: Mixture) -> Mixture:
        rows = _rows(len(mixture.inputs), most, mixture.anomalous)
        agree = None if mixture.agree is None else mixture.agree[rows]
        return Mixture(mixture.inputs[rows], mixture.anomalous[rows], agree)

    trusted = task.trusted[_rows(len(task.trusted), most)]
    return replace(task, trusted=trusted, untrusted=some(task.untrusted), test=some(task.test))


def failed(pair: Pair, contender: Contender, error: Exception) -> Result:
    """Returns the result of a detector that could not be measured."""
    said = " ".join(str(error).split())[:500]
    return Result(
        task=pair.task,
        detector=contender.name,
        seed=pair.seed,
        key=contender.key,
        applicable=not isinstance(error, Inapplicable),
        error=said if isinstance(error, UserError) else f"unexpected {type(error).__name__}: {said}",
        device=pair.device,
        theriac=__version__,
    )


def _settings(method: type[Any], chosen: Sequence[str], quick: bool) -> tuple[str, ...]:
    """Returns ``chosen`` after the quick settings that a method names, which they override."""
    usual = [f"{name}={value}" for name, value in getattr(method, "quick", {}).items()] if quick else []
    return (*usual, *chosen)


def _keyed(pair: Pair, identity: Any) -> Pair:
    def key(contender: Contender) -> str:
        method = METHODS[contender.name]
        settings = settings_of(configured(method, contender.settings))
        detector = {"name": contender.name, "version": method.version, "settings": settings}
        return key_of(MEASURING, pair.task, identity, pair.seed, detector, pair.quick)

    return replace(pair, detectors=tuple(replace(c, key=key(c)) for c in pair.detectors))


def _rows(count: int, most: int, anomalous: Tensor | None = None) -> Tensor:
    """Returns ``most`` of ``count`` rows, in order, drawn by a fixed seed from either kind."""
    if count <= most:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(0)
    kinds = [torch.ones(count, dtype=torch.bool)] if anomalous is None else [anomalous, ~anomalous]
    drawn = []
    for kind in kinds:
        rows = kind.nonzero()[:, 0]
        keep = max(1, round(most * len(rows) / count)) if len(rows) else 0
        drawn.append(rows[torch.randperm(len(rows), generator=generator)[:keep]])
    return torch.cat(drawn).sort().values
