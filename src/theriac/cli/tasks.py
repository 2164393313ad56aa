"""``theriac tasks``: scenarios with ground truth, on which input detectors are measured."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from theriac.cli.options import Run, print_json
from theriac.errors import ExitCode, UserError

if TYPE_CHECKING:
    from theriac.tasks.files import TaskRecord

app = App(name="tasks", help="List tasks with ground truth for input detectors, or make one.")

Set = Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)]


@app.default
def tasks(name: str | None = None, *, out: Path | None = None, settings: Set = (), run: Run = Run()) -> int:
    """List every task, show one with its settings, or make it.

    Args:
        name: One task.
        out: Folder to make it in; an unfinished one is gone on with.
        settings: A setting of the task, for instance epochs=4; may be repeated.
    """
    from theriac.registry import configured
    from theriac.tasks import TASKS
    from theriac.tasks.files import read_record
    from theriac.training.classifier import Unfinished

    if out is None or name is None:
        if out is not None or settings:
            missing = "the folder with --out" if name else "the task"
            raise UserError("making a task takes a name and a folder", where="tasks", do=f"name {missing}")
        _print_all([_described(TASKS[known], known) for known in TASKS if name in (None, known)], name, run)
        return ExitCode.NOTHING
    maker = configured(TASKS[name], settings)
    try:
        with run.progress(name) as progress:
            maker.make(out, seed=run.seed, device=run.torch_device(), budget=run.limit(), progress=progress)
    except Unfinished as unfinished:
        from sys import stderr

        print(f"{unfinished}; give the same command again to go on", file=stderr)
        return ExitCode.INCONCLUSIVE
    record = read_record(out)
    if run.json:
        print_json({"folder": str(out)} | record.model_dump(mode="json"))
    else:
        _print_made(record, out)
    return ExitCode.NOTHING


def _described(task: type[Any], name: str) -> dict[str, Any]:
    text = (task.__doc__ or "").strip()
    settings = {}
    for f in fields(task):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        settings[f.name] = None if default is MISSING else default
    return {
        "name": name,
        "summary": text.splitlines()[0] if text else "",
        "paper": getattr(task, "paper", ""),
        "settings": settings,
    }


def _print_all(listed: list[dict[str, Any]], name: str | None, run: Run) -> None:
    if not listed:
        raise UserError(f"no task {name!r}", do="theriac tasks lists them all")
    if run.json:
        print_json(listed)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if name is None:
        table = Table("task", "what it is", "paper", box=None, header_style="bold")
        for task in listed:
            table.add_row(task["name"], task["summary"], task["paper"])
        console.print(table)
        return
    for task in listed:
        console.print(f"[bold]{task['name']}[/bold]: {task['summary']}\nPaper: {task['paper']}\n", highlight=False)
        for setting, default in task["settings"].items():
            console.print(f"  {setting} = {default!r}", highlight=False, markup=False)


def _print_made(record: "TaskRecord", out: Path) -> None:
    print(f"{out}: task {record.task}, seed {record.seed}")
    for name, value in record.about.items():
        if isinstance(value, float):
            print(f"  {name.replace('_', ' '):<22} {value:.3f}")
        elif isinstance(value, dict) and name != "data":
            print(f"  {name.replace('_', ' '):<22} {', '.join(f'{k} {v}' for k, v in value.items())}")
        elif value not in (None, []) and name != "data":
            print(f"  {name.replace('_', ' '):<22} {value}")
