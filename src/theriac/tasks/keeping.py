"""Fitted detectors and where their models are: what ``detector.json`` notes about its task, and finding it again.

Places are noted relative to the detector's folder if they are below it or beside it, so that both can be moved
together, and absolutely otherwise. Nothing is opened whose digest is not the noted one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError

from theriac.data.reading import open_images
from theriac.detect.inputs.observing import Inputs
from theriac.errors import Refused, UserError
from theriac.finding import Record
from theriac.manifest import sha256_of
from theriac.models.opening import open_model
from theriac.tasks import TASKS
from theriac.tasks.files import RECORD, FolderTask, read_record
from theriac.tasks.results import Result


class Origin(Record):
    """What a detector was fitted on."""

    task: str = Field(description="name of the task")
    seed: int
    folder: str = Field(description="folder of the task, relative to the detector's or absolute")
    model: str = Field(description="the model's file or folder in it")
    sha256: str = Field(description="digest of the model's file or folder")


def notes_of(folder: Path, task_folder: Path, result: Result) -> dict[str, Any]:
    """Returns what a detector in ``folder`` notes about the task that it was fitted and measured on.

    Where the task lies is noted if ``task_folder`` holds it in theriac's own form, as tasks of others need not.
    """
    figures = result.model_dump(mode="json", exclude={"key", "error"})
    if not (task_folder / RECORD).is_file():
        return {"figures": figures}
    record = read_record(task_folder)
    origin = Origin(
        task=record.task,
        seed=record.seed,
        folder=_noted(task_folder, folder),
        model=record.model,
        sha256=sha256_of(task_folder / record.model),
    )
    return {"origin": origin.model_dump(), "figures": figures}


def origin_of(record: Mapping[str, Any], folder: Path) -> Origin | None:
    """Returns what the ``record`` of the detector in ``folder`` notes about its task, or None if it notes nothing.

    Raises:
        Refused: If the note is unsound.
    """
    notes = record.get("notes")
    noted = notes.get("origin") if isinstance(notes, dict) else None
    if noted is None:
        return None
    try:
        return Origin.model_validate(noted)
    except ValidationError as error:
        raise Refused(
            f"its note on where it was fitted is unsound ({error.errors()[0]['msg']})", where=folder
        ) from None


def task_folder(origin: Origin, folder: Path) -> Path:
    """Returns the folder of the task that the detector in ``folder`` was fitted on.

    Raises:
        UserError: If it is not there.
    """
    place = folder / origin.folder
    if not place.is_dir():
        raise UserError(f"its task was in {origin.folder}, which is gone", where=folder, do="name the task's folder")
    return place


def open_noted_model(origin: Origin, folder: Path, device: torch.device) -> Any:
    """Returns the model that the detector in ``folder`` was fitted on.

    Raises:
        Refused: If it is another one by now.
        UserError: If it is not where it was.
    """
    path = folder / origin.folder / origin.model
    if not path.exists():
        raise UserError(f"its model was in {path}, which is gone", where=folder, do="name the model with --model")
    if sha256_of(path) != origin.sha256:
        raise Refused("was changed after the detector was fitted", where=path, do="fit the detector again")
    maker = _maker(origin)
    return (open_model(str(path)) if maker is None else maker.open_model(path)).to(device)


def open_stream(path: str, origin: Origin | None) -> Inputs:
    """Returns the inputs at ``path``, read as those of the task that a detector was fitted on; images without one.

    Raises:
        UserError: If they cannot be read.
    """
    maker = None if origin is None else _maker(origin)
    if maker is None or "://" in path:
        return open_images(path, unlabelled_ok=True)
    if not Path(path).exists():
        raise UserError("no such file or folder", where=path)
    return maker.open_inputs(Path(path))


def _maker(origin: Origin) -> type[FolderTask] | None:
    maker = TASKS[origin.task] if origin.task in TASKS.targets() else None
    return maker if maker is not None and issubclass(maker, FolderTask) else None


def _noted(place: Path, folder: Path) -> str:
    place, folder = place.resolve(), folder.resolve()
    if place.is_relative_to(folder):
        return place.relative_to(folder).as_posix()
    if place.is_relative_to(folder.parent):
        return (Path("..") / place.relative_to(folder.parent)).as_posix()
    return str(place)
