"""A task on disk: what a defender has, what only the evaluation knows, and a record that says so.

A finished folder holds ``task.json``, the model, ``trusted``, ``untrusted`` and ``test`` inputs (images as Parquet,
others as safetensors) and, apart from them, ``truth.safetensors``. A folder under way holds ``making.json`` instead of
``task.json``; the same call goes on with it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from theriac import __version__
from theriac.data.reading import open_images
from theriac.detect.inputs.observing import Inputs
from theriac.errors import Refused, UserError
from theriac.files import replacing, sha256_file, write_text
from theriac.finding import Record
from theriac.models.opening import open_model
from theriac.registry import settings_of
from theriac.run.budget import Budget
from theriac.run.progress import Progress, silent
from theriac.tasks.task import Mixture, Task

RECORD, PLAN, TRUTH = "task.json", "making.json", "truth.safetensors"
MAX_RECORD = 16 << 20
_Kind = TypeVar("_Kind", bound=Record)


class Plan(Record):
    """What a folder is for."""

    task: str
    version: str
    settings: dict[str, JsonValue]
    seed: int


class TaskRecord(Plan):
    """What ``task.json`` says."""

    schema_version: Literal["1"] = "1"
    theriac: str
    model: str = Field(description="file or folder of the model")
    trusted: str
    untrusted: str
    test: str
    target: int | None = Field(description="class that anomalous inputs are led to")
    alarm: bool = Field(description="false: no detector should alarm about the anomalous inputs")
    files: dict[str, str] = Field(description="SHA-256 of every file, by its path in the folder")
    about: dict[str, JsonValue] = Field(description="what was measured and counted")


@dataclass(frozen=True)
class Made:
    """What a maker has put into a folder.

    Attributes:
        model, trusted, untrusted, test: Paths in the folder.
        truth: ``untrusted.anomalous`` and ``test.anomalous`` (bool), and what else only the evaluation knows:
            ``test.agree``, true labels as ``test.labels``.
        about: What was measured and counted, as JSON.
        target, alarm: As in :class:`~theriac.tasks.task.Task`.
    """

    model: str
    trusted: str
    untrusted: str
    test: str
    truth: Mapping[str, Tensor]
    about: Mapping[str, JsonValue] = field(default_factory=dict)
    target: int | None = None
    alarm: bool = True


class FolderTask(ABC):
    """Makes tasks that are kept in folders. A maker is a frozen dataclass of its settings that derives from this.

    It writes model and inputs in ``_make``; where they are not an image classifier and images, it says in
    ``open_model`` and ``open_inputs`` how they are read back.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    paper: ClassVar[str]

    def make(
        self,
        folder: Path,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        budget: Budget | None = None,
        progress: Progress = silent,
    ) -> Task:
        """Makes the task, or opens it if ``folder`` holds it already; killed at any moment, the next call goes on.

        Raises:
            UserError: If it cannot be made, an attack that does not work included, or ``folder`` holds something else.
            Unfinished: If the budget ran out; the same call goes on.
        """
        plan = Plan(task=self.name, version=self.version, settings=settings_of(self), seed=seed)
        if (folder / RECORD).exists():
            _check_same(plan, read_record(folder), folder / RECORD)
            return open_task(folder, device)
        if (folder / PLAN).exists():
            _check_same(plan, _read(Plan, folder / PLAN), folder / PLAN)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError("exists already and is no task", where=folder, do="choose another name or remove it")
        else:
            write_text(folder / PLAN, plan.model_dump_json(indent=1) + "\n")
        made = self._make(folder, seed, torch.device(device), budget or Budget(), progress)
        with replacing(folder / TRUTH) as temporary:
            temporary.write_bytes(save({name: value.contiguous() for name, value in made.truth.items()}))
        record = TaskRecord(
            **plan.model_dump(),
            theriac=__version__,
            model=made.model,
            trusted=made.trusted,
            untrusted=made.untrusted,
            test=made.test,
            target=made.target,
            alarm=made.alarm,
            files={name: sha256_file(folder / name) for name in _names(folder)},
            about=dict(made.about),
        )
        write_text(folder / RECORD, record.model_dump_json(indent=1) + "\n")
        (folder / PLAN).unlink()
        return open_task(folder, device)

    @abstractmethod
    def _make(self, folder: Path, seed: int, device: torch.device, budget: Budget, progress: Progress) -> Made:
        """Writes model and inputs to ``folder``; what an earlier call has written there is worth looking for."""

    @classmethod
    def open_model(cls, path: Path) -> Any:
        """Returns the model at ``path``, on the CPU."""
        return open_model(str(path))

    @classmethod
    def open_inputs(cls, path: Path) -> Inputs:
        """Returns the inputs at ``path``."""
        return open_images(path, unlabelled_ok=True)


def read_record(folder: Path) -> TaskRecord:
    """Returns what ``task.json`` says.

    Raises:
        Refused: If it is not sound.
        UserError: If there is none.
    """
    if not (folder / RECORD).is_file():
        unfinished = (folder / PLAN).is_file()
        what, do = ("its making was stopped", "give the same command again") if unfinished else ("holds no task", None)
        raise UserError(what, where=folder, do=do or "make one with theriac tasks NAME --out FOLDER")
    return _read(TaskRecord, folder / RECORD)


def open_task(folder: Path, device: torch.device | str = "cpu") -> Task:
    """Opens a finished task whose files are still those that were made.

    Raises:
        Refused: If its files are unsound or were changed.
        UserError: If there is no task, or its kind is unknown here.
    """
    from theriac.tasks import TASKS

    record = read_record(folder)
    maker: type[FolderTask] = TASKS[record.task]
    for name in (*record.files, record.model, record.trusted, record.untrusted, record.test):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise Refused(f"names a file {name!r} outside its folder", where=folder / RECORD)
    for name, digest in record.files.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise Refused("is missing or was changed after the task was made", where=folder / name, do="make it again")
    known = {*record.files, *(str(parent) for name in record.files for parent in PurePosixPath(name).parents[:-1])}
    for name in (record.model, record.trusted, record.untrusted, record.test, TRUTH):
        if name not in known:
            raise Refused(f"has no digest of {name!r}", where=folder / RECORD)
    truth = read_tensors(folder / TRUTH)
    untrusted, test = (maker.open_inputs(folder / name) for name in (record.untrusted, record.test))
    return Task(
        name=record.task,
        seed=record.seed,
        model=maker.open_model(folder / record.model).to(device),
        trusted=maker.open_inputs(folder / record.trusted),
        untrusted=_mixture(untrusted, truth, "untrusted"),
        test=_mixture(test, truth, "test"),
        target=record.target,
        alarm=record.alarm,
        about=record.about | {"settings": record.settings, "version": record.version},
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors in a safetensors file of a task.

    Raises:
        Refused: If it is none.
    """
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise Refused(f"not a sound safetensors file ({error})", where=path) from None


def _mixture(inputs: Inputs, truth: Mapping[str, Tensor], name: str) -> Mixture:
    anomalous, agree = truth.get(f"{name}.anomalous"), truth.get(f"{name}.agree")
    wrong = [v for v in (anomalous, agree) if v is not None and (v.dtype, v.shape) != (torch.bool, (len(inputs),))]
    if anomalous is None or wrong:
        raise Refused(f"does not fit the {len(inputs)} {name} inputs", where=TRUTH)
    return Mixture(inputs, anomalous, agree)


def _names(folder: Path) -> list[str]:
    """Returns the paths of all files in ``folder`` but its own records and what was left by a kill."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if path.name not in (RECORD, PLAN) and path.name[0] != ".")


def _read(kind: type[_Kind], path: Path) -> _Kind:
    try:
        if path.stat().st_size > MAX_RECORD:
            raise ValueError("is too large")
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError, ValueError) as error:
        raise Refused(f"is not a sound record of a task: {str(error).splitlines()[0]}", where=path) from None


def _check_same(wanted: Plan, found: Plan, where: Path) -> None:
    for what in ("task", "version", "seed"):
        if getattr(wanted, what) != getattr(found, what):
            problem = f"is of {what} {getattr(found, what)}, not {getattr(wanted, what)}"
            raise UserError(problem, where=where, do="choose another folder")
    for name, value in wanted.settings.items():
        if found.settings.get(name) != value:
            problem = f"was made with {name}={found.settings.get(name)}, not {value}"
            raise UserError(problem, where=where, do="choose another folder, or leave the settings as they were")
