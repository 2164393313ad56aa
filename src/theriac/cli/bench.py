"""``theriac bench``: every detector on every task, one JSON line each, tables and pictures of them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from theriac.cli.options import Run, progress_bar
from theriac.errors import ExitCode, UserError
from theriac.run.progress import Progress

if TYPE_CHECKING:
    from theriac.tasks.benchmark import Pair
    from theriac.tasks.results import Result

app = App(name="bench", help="Measure input detectors on tasks: one JSON line each, tables and pictures.")

Names = Annotated[str | None, Parameter(negative="")]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
Set = Annotated[
    list[str],
    Parameter(name="--set", negative="", help="TASK.NAME=VALUE or DETECTOR.NAME=VALUE of a setting; repeatable."),
]


@app.default
def bench(
    *,
    out: Path,
    tasks: Names = None,
    detectors: Names = None,
    seeds: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    quick: Annotated[bool, Parameter(negative="")] = False,
    settings: Set = [],  # noqa: B006 — cyclopts reads the default, nothing writes it
    workers: Count = 1,
    ray: Annotated[bool, Parameter(negative="")] = False,
    run: Run = Run(),
) -> int:
    """Measure detectors on tasks, each with several seeds; a killed run goes on when the same command is given again.

    Writes OUT/results.jsonl (one line per task, detector and seed), OUT/table.md, OUT/auroc.svg and
    OUT/tpr_at_1pct_fpr.svg. What fails is a line that says why, and the
    exit status is 3 then; a detector that is not for a task's kind of inputs is such a line too, but no failure.

    Args:
        out: Folder of the results; tasks are made below it.
        tasks: Names of tasks (see `theriac tasks`) or folders of finished ones, with commas; by default all that need
            nothing from elsewhere.
        detectors: Names of input detectors (see `theriac methods`), with commas; by default all.
        seeds: How many seeds, from --seed on; by default 3, or 1 with --quick.
        quick: A first look: fewer inputs, and the quick settings that tasks and detectors name.
        workers: How many processes.
        ray: Run on Ray, on the cluster that RAY_ADDRESS names.
    """
    from theriac.tasks.benchmark import offline_tasks, pairs_of, pending
    from theriac.tasks.results import Results

    chosen = _names(tasks, "--tasks") or offline_tasks()
    contenders = _names(detectors, "--detectors") or _all_detectors()
    numbers = range(run.seed, run.seed + (seeds or (1 if quick else 3)))
    given = _by_method(settings, [*chosen, *contenders])
    pairs = pairs_of(chosen, contenders, numbers, out, given, device=run.device, quick=quick)
    known = Results(out / "results.jsonl")
    left = pending(pairs, known)
    keys = [contender.key for pair in pairs for contender in pair.detectors]
    found: dict[str, Result] = {key: result for key in keys if (result := known.get(key)) is not None}
    for result in found.values():
        _tell(result, len(found), len(keys), run, again=True)
    with progress_bar("bench", hidden=run.json) as progress:
        for result in _results(left, workers, ray, progress):
            known.put(result)
            found[result.key] = result
            _tell(result, len(found), len(keys), run)
    ordered = [found[key] for key in keys if key in found]
    _finish(ordered, out, run)
    return ExitCode.INCONCLUSIVE if any(result.failed for result in ordered) else ExitCode.NOTHING


def _results(left: "list[Pair]", workers: int, ray: bool, progress: Progress) -> "Iterator[Result]":
    from theriac.tasks.running import run_here, run_in_processes, run_on_ray

    if ray:
        return run_on_ray(left, progress)
    return run_here(left, progress) if min(workers, len(left)) < 2 else run_in_processes(left, workers, progress)


def _names(text: str | None, option: str) -> list[str]:
    names = [] if text is None else [name.strip() for name in text.split(",")]
    if text is not None and not all(names):
        raise UserError(f"{text!r} names nothing between two commas", where=option)
    return list(dict.fromkeys(names))


def _all_detectors() -> list[str]:
    from theriac.detect.inputs import METHODS

    return list(METHODS)


def _by_method(settings: list[str], names: list[str]) -> dict[str, list[str]]:
    """Returns task or detector -> its settings of ``task.name=value`` texts."""
    given: dict[str, list[str]] = {}
    for setting in settings:
        owner = next((name for name in names if setting.startswith(f"{name}.")), None)
        if owner is None:
            do = f"write NAME.SETTING=VALUE, NAME one of: {', '.join(names)}"
            raise UserError(f"{setting!r} is of no task or detector that takes part", where="--set", do=do)
        given.setdefault(owner, []).append(setting[len(owner) + 1 :])
    return given


def _tell(result: "Result", done: int, total: int, run: Run, *, again: bool = False) -> None:
    """Prints the line with ``--json``, else a few words on stderr."""
    if run.json:
        print(result.line(), flush=True)
        return
    if result.error is not None:
        said = f"{'not measured' if result.failed else 'not applicable'}: {result.error}"
    elif result.ablation:
        said = f"ablation, {result.alarms:.3f} above the threshold"
    else:
        said = f"AUROC {result.auroc:.4f}, TPR at 1 % FPR {result.tpr_at_1pct_fpr:.3f}"
    known = " (known)" if again else ""
    print(f"{done}/{total} {result.task} {result.seed} {result.detector}: {said}{known}", file=sys.stderr, flush=True)


def _finish(results: "list[Result]", out: Path, run: Run) -> None:
    from theriac.files import write_text
    from theriac.tasks.tables import draw, markdown, tables

    write_text(out / "table.md", markdown(results))
    drawn = draw(results, out)
    if run.json:
        return
    from theriac.report.terminal import print_table

    for table in tables(results):
        print_table(table)
    print(f"Written: {', '.join(str(path) for path in (out / 'results.jsonl', out / 'table.md', *drawn))}")
