"""``theriac eval detector``: a saved input detector, measured on a task."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from theriac.cli.options import Run, print_json
from theriac.errors import ExitCode, UserError

if TYPE_CHECKING:
    from theriac.detect.inputs.base import LayerDetector
    from theriac.tasks.measuring import Measured
    from theriac.tasks.task import Task

app = App(name="eval", help="Measure a saved detector on a task.")

TriggerSet = Annotated[
    list[str], Parameter(name="--trigger-set", negative="", help="NAME=VALUE of a setting of --trigger; repeatable.")
]


@app.command
def detector(
    path: Path,
    task: Path | None = None,
    *,
    out: Path | None = None,
    trigger: str | None = None,
    trigger_settings: TriggerSet = [],  # noqa: B006 — cyclopts reads the default, nothing writes it
    run: Run = Run(),
) -> int:
    """Measure a detector that `theriac train detector` saved, on its own task or on another with the same model.

    With --trigger it is an ablation: another trigger, that the model was not poisoned with, on the task's usual inputs,
    about which no detector should raise an alarm.

    Args:
        path: Folder of the detector.
        task: Folder of a task; by default the one that the detector was fitted on.
        out: Folder of the evaluation; by default the detector's own, whose evaluation is replaced.
        trigger: Name of another trigger, see `theriac methods`.
    """
    from theriac.detect.inputs.saving import load_detector, read_record
    from theriac.tasks.files import open_task
    from theriac.tasks.keeping import origin_of, task_folder
    from theriac.tasks.measuring import measure_fitted

    origin = origin_of(read_record(path), path)
    if task is None and origin is None:
        raise UserError("does not say which task it was fitted on", where=path, do="name the folder of a task")
    where = task if task is not None or origin is None else task_folder(origin, path)
    assert where is not None
    found = open_task(where, run.torch_device())
    if trigger is not None:
        from theriac.tasks.ablating import with_trigger
        from theriac.triggers import make

        found = with_trigger(found, make(trigger, _parameters(trigger_settings)))
    fitted = load_detector(path, found.model)
    return evaluated(out or path, found, fitted, measure_fitted(found, fitted), run)


def _parameters(settings: list[str]) -> dict[str, str]:
    wrong = [setting for setting in settings if "=" not in setting]
    if wrong:
        raise UserError(f"{wrong[0]!r} is not NAME=VALUE", where="--trigger-set", do="write for instance std=0.2")
    return {name: value for name, _, value in (setting.partition("=") for setting in settings)}


def evaluated(folder: Path, task: "Task", fitted: "LayerDetector", measured: "Measured", run: Run) -> int:
    """Writes and prints what was measured; returns the exit status."""
    from theriac.tasks.evaluation import figures, write_evaluation

    written = write_evaluation(folder, task, measured, logarithmic=fitted.positive)
    if run.json:
        print_json(figures(measured) | {"files": [str(path) for path in written]})
        return ExitCode.NOTHING
    print("\n".join(summary(measured)))
    print(f"\nLook at {folder / 'histogram-all.svg'} and {folder / 'worst_mistakes.html'}")
    return ExitCode.NOTHING


def summary(measured: "Measured") -> list[str]:
    """Returns the figures in a few lines."""
    result = measured.result
    shown = {
        "AUROC": "auroc",
        "AP": "ap",
        "TPR at 1 % FPR": "tpr_at_1pct_fpr",
        "AUROC within the target class": "auroc_within_target",
        "false positive rate": "fpr",
        "true positive rate": "tpr",
        "alarms (an ablation: none is right)": "alarms",
    }
    lines = [f"{result.detector} on {result.task}, {result.usual} usual and {result.anomalous} anomalous inputs"]
    for words, name in shown.items():
        if (value := getattr(result, name)) is not None:
            bounds = result.intervals.get(name)
            between = "" if bounds is None else f"  [{bounds[0]:.4f}, {bounds[1]:.4f}]"
            promised = f", {result.nominal_fpr:g} promised" if name in ("fpr", "alarms") else ""
            lines.append(f"  {words:<36} {value:.4f}{between}{promised}")
    return lines
