"""``theriac train classifier|detector``: train a classifier, or fit an input detector on a task, and measure them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from theriac.cli.options import Run, print_json
from theriac.detect.inputs import DEFAULT as INPUT_METHOD
from theriac.errors import ExitCode
from theriac.training.settings import Settings

if TYPE_CHECKING:
    from theriac.data.images import ImageData
    from theriac.training.record import TrainingRecord

app = App(name="train", help="Train a classifier, or fit an input detector on a task, and measure them.")

Set = Annotated[list[str], Parameter(name="--set", negative="", help="NAME=VALUE of a hyper-parameter; repeatable.")]
TaskSet = Annotated[
    list[str], Parameter(name="--task-set", negative="", help="NAME=VALUE of a setting of the task; repeatable.")
]

DEFAULTS = Settings()


@app.command
def classifier(
    path: str,
    *,
    out: Path,
    test: str | None = None,
    settings: Annotated[Settings, Parameter(name="*")] = DEFAULTS,
    min_accuracy: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.8,
    image: str | None = None,
    label: str | None = None,
    lineage: bool = True,
    keys: Path | None = None,
    run: Run = Run(),
) -> int:
    """Train an image classifier; a killed training goes on when the same command is given again.

    Writes the weights (safetensors) and, beside them, a JSON record of what was trained and measured. If the data come
    with the manifest of `theriac poison`, the attack is measured on the test images. The model counts as poisoned
    ground truth only if the attack works: ASR at least 0.9, base rate at most 0.1.

    Args:
        path: Labelled images: Parquet, a folder, CSV or .npz.
        out: Where to write the weights.
        test: Clean labelled images to measure on.
        min_accuracy: Clean accuracy below which the model is no ground truth.
        image: Column of the pictures.
        label: Column of the labels.
        lineage: Sign what the model was made of, in MODEL.lineage.jsonl beside it; audits take it over.
        keys: Folder of the signing key; by default your own, made on first use.
    """
    from accelerate import PartialState

    from theriac.data.poisoning import find_manifest
    from theriac.data.reading import open_images
    from theriac.training.classifier import Unfinished
    from theriac.training.job import Job
    from theriac.training.record import Gate

    data = open_images(path, image=image, label=label)
    clean = None if test is None else open_images(test, image=image, label=label)
    job = Job(data, out, settings, run.seed, clean, find_manifest(path), Gate(min_accuracy=min_accuracy))
    try:
        with run.progress("training") as progress:
            record = job.run(run.torch_device(), run.limit(), progress)
    except Unfinished as unfinished:
        print(f"{unfinished}; give the same command again to go on", file=sys.stderr)
        return ExitCode.INCONCLUSIVE
    if not PartialState().is_main_process:
        return ExitCode.NOTHING
    if lineage:
        _sign_lineage(record, data, path, out, keys)
    if run.json:
        print_json(record.model_dump(mode="json"))
    else:
        print(summary(record))
    return ExitCode.NOTHING


@app.command
def detector(
    task: str,
    *,
    out: Path,
    method: Annotated[str, Parameter(name=("--detector", "--method"))] = INPUT_METHOD,
    settings: Set = [],  # noqa: B006 — cyclopts reads the default, nothing writes it
    task_settings: TaskSet = [],  # noqa: B006
    run: Run = Run(),
) -> int:
    """Fit an input detector on a task, measure it on the task's test inputs, and save it.

    The task knows its model, its trigger and which inputs are anomalous; the detector sees only what a defender has.
    Writes the detector (detector.json, detector.safetensors), eval.json, scores.parquet, and per layer a histogram and
    a ROC curve; worst_mistakes.html shows the inputs that it was most wrong about.

    Args:
        task: Folder of a task, or the name of one (see `theriac tasks`), which is then made in OUT/task.
        out: Folder of the detector.
        method: The input detector; see `theriac methods`.
    """
    from theriac.cli.eval import evaluated
    from theriac.detect.inputs import METHODS
    from theriac.errors import UserError
    from theriac.registry import configured
    from theriac.tasks import TASKS
    from theriac.tasks.files import RECORD, open_task
    from theriac.tasks.keeping import notes_of
    from theriac.tasks.measuring import measure

    unfitted = configured(METHODS[method], settings)
    folder = Path(task)
    if (folder / RECORD).is_file() or folder.is_dir():
        if task_settings:
            raise UserError("is made already, so it takes no settings", where=task, do="leave --task-set out")
        found = open_task(folder, run.torch_device())
    else:
        folder = out / "task"
        maker = configured(TASKS[task], task_settings)
        with run.progress("task") as progress:
            found = maker.make(folder, seed=run.seed, device=run.torch_device(), budget=run.limit(), progress=progress)
    measured = measure(found, unfitted)
    unfitted.save(out, notes=notes_of(out, folder, measured.result))
    return evaluated(out, found, unfitted, measured, run)


def _sign_lineage(record: "TrainingRecord", data: "ImageData", path: str, out: Path, keys: Path | None) -> None:
    from theriac.provenance.describe import Scalar
    from theriac.provenance.issuer import Artifact
    from theriac.provenance.keys import default_folder, load_or_create
    from theriac.provenance.lineage import write_lineage

    settings: dict[str, Scalar] = {name: value for name, value in record.settings.items() if isinstance(value, Scalar)}
    settings |= {"architecture": record.architecture, "classes": len(record.classes), "seed": record.seed}
    settings["config"] = record.config_sha256
    trained_on = Artifact.read(data.name, data.sha256, path)
    write_lineage(out, load_or_create(keys or default_folder()), out.name, [trained_on], settings)


def summary(record: "TrainingRecord") -> str:
    """Returns what a training came to, in a few lines."""
    lines = [f"{record.model}: {record.architecture}, {record.settings['epochs']} epochs in {record.seconds:.0f} s"]
    if record.accuracy is not None:
        lines.append(f"clean accuracy   {record.accuracy}")
    if record.attack is not None and record.attack.asr is not None:
        lines.append(f"ASR              {record.attack.asr}")
        lines.append(f"base rate        {record.attack.base_rate}")
        lines.append(f"robust accuracy  {record.attack.robust_accuracy}")
    reasons = f": {'; '.join(record.reasons)}" if record.reasons else ""
    return "\n".join([*lines, f"ground truth     {record.ground_truth}{reasons}"])
