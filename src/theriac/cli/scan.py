"""``theriac scan model|data|inputs``: one detector on one subject."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from theriac.cli.options import Run, print_finding
from theriac.detect.data import DEFAULT as DATA_METHOD
from theriac.detect.inputs import DEFAULT as INPUT_METHOD
from theriac.detect.models import DEFAULT as MODEL_METHOD
from theriac.errors import UserError
from theriac.finding import Finding, exit_code
from theriac.registry import configured

if TYPE_CHECKING:
    from theriac.data.images import ImageData
    from theriac.detect import DataScan
    from theriac.detect.inputs.base import LayerDetector
    from theriac.detect.inputs.observing import Inputs

app = App(name="scan", help="Scan a model, a data set or a stream of inputs for poisoning.")

Set = Annotated[list[str], Parameter(name="--set", negative="", help="NAME=VALUE of a hyper-parameter; repeatable.")]


@app.command
def model(
    path: str,
    *,
    examples: str,
    method: str = MODEL_METHOD,
    settings: Set = [],  # noqa: B006 — cyclopts reads the default, nothing writes it
    architecture: str | None = None,
    out: Path | None = None,
    run: Run = Run(),
) -> int:
    """Say whether a model is poisoned, from the model and some clean labelled examples.

    Args:
        path: The model file; nothing in it is run.
        examples: Clean labelled examples.
        method: The model detector; see `theriac methods`.
        architecture: Architecture, when it is not recognised from the tensors.
        out: Write the finding to this JSON file too.
    """
    from theriac.data.reading import open_images
    from theriac.detect.models import METHODS
    from theriac.models.opening import open_model

    detector = configured(METHODS[method], settings)
    clean = open_images(examples)
    device = run.torch_device()
    classifier = open_model(path, architecture=architecture, classes=clean.classes).to(device)
    with run.progress("model") as progress:
        finding = detector.scan(classifier, clean, budget=run.limit(), generator=run.generator(), progress=progress)
    return _report(finding, out, run)


@app.command
def data(
    path: str,
    *,
    model: str | None = None,
    method: str = DATA_METHOD,
    settings: Set = [],  # noqa: B006
    image: str | None = None,
    label: str | None = None,
    scores: Path | None = None,
    out: Path | None = None,
    run: Run = Run(),
) -> int:
    """Rank the rows of a training set by how much they look like poison.

    Args:
        path: The data: Parquet, a folder, CSV or .npz.
        model: The model trained on it.
        method: The data detector; see `theriac methods`.
        image: Column of the pictures.
        label: Column of the labels.
        scores: Where to write the score of every row (Parquet); by default NAME.scores.parquet.
        out: Write the finding to this JSON file too.
    """
    from theriac.data.reading import open_images
    from theriac.detect.data import METHODS

    detector = configured(METHODS[method], settings)
    rows = open_images(path, image=image, label=label)
    classifier = None
    if model is not None:
        from theriac.models.opening import open_model

        classifier = open_model(model, classes=rows.classes).to(run.torch_device())
    with run.progress("data") as progress:
        scan = detector.scan(classifier, rows, budget=run.limit(), generator=run.generator(), progress=progress)
    return _report(_with_scores(scan, rows, scores or Path(f"{Path(path).stem}.scores.parquet")), out, run)


@app.command
def inputs(
    path: str,
    *,
    detector: Annotated[str, Parameter(name=("--detector", "--method"))] = INPUT_METHOD,
    model: str | None = None,
    trusted: str | None = None,
    settings: Set = [],  # noqa: B006
    scores: Path | None = None,
    out: Path | None = None,
    run: Run = Run(),
) -> int:
    """Say which inputs of a recorded stream are anomalous inside the model.

    Args:
        path: The inputs; labels are not needed.
        detector: Folder of a detector that `theriac train detector` saved, or the name of an input detector to be
            fitted now, with --model and --trusted; see `theriac methods`.
        model: The model that the inputs are for; a saved detector knows where its own lies.
        trusted: Inputs known to be clean; a saved detector needs none.
        scores: Where to write the score of every input (Parquet); by default NAME.scores.parquet.
        out: Write the finding to this JSON file too.
    """
    from theriac.detect.inputs.saving import RECORD

    if (Path(detector) / RECORD).is_file() or (Path(detector).is_dir() and "/" in detector):
        fitted, stream = _saved(path, Path(detector), model, trusted, settings, run)
    else:
        fitted, stream = _fitted(path, detector, model, trusted, settings, run)
    with run.progress("inputs") as progress:
        scan = fitted.scan(stream, budget=run.limit(), generator=run.generator(), progress=progress)
    return _report(_with_scores(scan, stream, scores or Path(f"{Path(path).stem}.scores.parquet")), out, run)


def _saved(
    path: str, folder: Path, model: str | None, trusted: str | None, settings: list[str], run: Run
) -> "tuple[LayerDetector, Inputs]":
    """Returns the detector in ``folder``, and the inputs."""
    from theriac.detect.inputs.saving import load_detector, read_record
    from theriac.models.opening import open_model
    from theriac.tasks.keeping import open_noted_model, open_stream, origin_of

    if trusted is not None or settings:
        option = "--trusted" if trusted is not None else "--set"
        raise UserError("is for a detector that is fitted now", where=option, do=f"leave it out: {folder} is fitted")
    origin = origin_of(read_record(folder), folder)
    if model is None and origin is None:
        raise UserError("does not say where its model is", where=folder, do="name it with --model")
    stream = open_stream(path, origin)
    if model is not None:
        opened: Any = open_model(model).to(run.torch_device())
    else:
        assert origin is not None
        opened = open_noted_model(origin, folder, run.torch_device())
    return load_detector(folder, opened), stream


def _fitted(
    path: str, method: str, model: str | None, trusted: str | None, settings: list[str], run: Run
) -> "tuple[LayerDetector, Inputs]":
    """Returns a detector that is fitted now, and the inputs; offline methods see the inputs themselves, unlabelled."""
    from theriac.data.reading import open_images
    from theriac.detect.inputs import METHODS
    from theriac.models.opening import open_model

    unfitted = configured(METHODS[method], settings)
    if model is None or trusted is None:
        what = f"{method} is fitted now and needs a model and trusted inputs"
        raise UserError(what, do="give --model and --trusted, or name the folder of a saved detector")
    usual = open_images(trusted)
    stream = open_images(path, unlabelled_ok=True)
    classifier = open_model(model, classes=usual.classes).to(run.torch_device())
    return unfitted.fit(classifier, usual, stream if unfitted.uses("untrusted") else None), stream


def _with_scores(scan: "DataScan", rows: "ImageData | Inputs", path: Path) -> Finding:
    from theriac.detect.data.scores_file import write_scores

    return write_scores(path, rows, scan)


def _report(finding: Finding, out: Path | None, run: Run) -> int:
    from theriac.files import write_text

    if out is not None:
        if out.is_dir():
            raise UserError("is a folder", where=out, do="name a .json file")
        write_text(out, finding.model_dump_json(indent=2))
    print_finding(finding, run)
    return exit_code([finding])
