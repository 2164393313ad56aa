"""The main job: a system in; findings, a repaired model, signed evidence and a report out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from theriac import __version__
from theriac.data.images import ImageData
from theriac.detect import DataDetector, DataScan, InputDetector, ModelDetector
from theriac.detect.data import DEFAULT as DATA_METHOD
from theriac.detect.data import METHODS as DATA_METHODS
from theriac.detect.data.scores_file import write_scores
from theriac.detect.inputs import DEFAULT as INPUT_METHOD
from theriac.detect.inputs import METHODS as INPUT_METHODS
from theriac.detect.models import DEFAULT as MODEL_METHOD
from theriac.detect.models import METHODS as MODEL_METHODS
from theriac.errors import UserError
from theriac.files import sha256_file, write_text
from theriac.finding import Finding
from theriac.mitigate import DEFAULT as MITIGATION
from theriac.mitigate import METHODS as MITIGATIONS
from theriac.mitigate import Mitigation
from theriac.models.classifier import Classifier
from theriac.models.saving import save_model
from theriac.registry import configured
from theriac.run.budget import Budget
from theriac.run.journal import Journal, key_of
from theriac.run.progress import Progress, silent, span
from theriac.system import System, open_classifier, open_data


@dataclass(frozen=True)
class Plan:
    """Which methods an audit uses.

    Attributes:
        model, data, inputs, mitigation: Configured methods.
        repair: Whether to repair a model that is found poisoned.
    """

    model: ModelDetector = field(default_factory=lambda: configured(MODEL_METHODS[MODEL_METHOD]))
    data: DataDetector = field(default_factory=lambda: configured(DATA_METHODS[DATA_METHOD]))
    inputs: InputDetector = field(default_factory=lambda: configured(INPUT_METHODS[INPUT_METHOD]))
    mitigation: Mitigation = field(default_factory=lambda: configured(MITIGATIONS[MITIGATION]))
    repair: bool = True


@dataclass(frozen=True)
class Opened:
    """A system with everything read into memory."""

    system: System
    model: Classifier
    clean: ImageData | None
    training: ImageData | None
    inputs: ImageData | None


@dataclass(frozen=True)
class Outcome:
    """What the methods found.

    Attributes:
        findings: About the system as it came in.
        repair: The mitigation's finding; None without a repair.
        repaired: File of the repaired model, if there is one.
        not_checked: What nobody looked at, and why.
        complete: Whether every part that was given could be examined.
    """

    findings: list[Finding]
    repair: Finding | None
    repaired: Path | None
    not_checked: list[str]
    complete: bool


def open_system(system: System, device: torch.device | str = "cpu") -> Opened:
    """Opens every part of a system before anything is written.

    Raises:
        UserError: If a part cannot be read, or the parts do not fit together.
    """
    clean = open_data(system.clean_examples) if system.clean_examples else None
    training = open_data(system.training_data) if system.training_data else None
    inputs = open_data(system.inputs, unlabelled_ok=True) if system.inputs else None
    labelled = clean or training
    model = open_classifier(system.model, labelled.classes if labelled else None)
    for part in (clean, training):
        if part is not None and len(part.classes) != len(model.classes):
            raise UserError(
                f"has {len(part.classes)} classes but the model has {len(model.classes)}",
                where=part.name,
                do="check that model and data belong together",
            )
        if part is not None and part.classes != model.classes and set(part.classes) == set(model.classes):
            raise UserError("has the model's classes in another order", where=part.name, do="number them alike")
    return Opened(system, model.to(device), clean, training, inputs)


class _Steps:
    """Runs the steps of one audit, each once, even over several runs of the command."""

    def __init__(self, opened: Opened, out: Path, seed: int, progress: Progress) -> None:
        self.out, self.seed, self.progress = out, seed, progress
        self.journal = Journal(out / "journal.jsonl")
        parts = ("model", "clean_examples", "training_data", "inputs")
        self.context = [opened.system.model_dump(include=set(parts)), str(opened.model.device), __version__, seed]

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def scored(self, step: str, rows: ImageData, scan: DataScan) -> Finding:
        """Writes the scores beside the findings; the finding names them relative to ``out``, which may be moved."""
        name = f"findings/{step}.scores.parquet"
        return write_scores(self.out / name, rows, scan, named=name)

    def run(
        self, step: str, method: Any, inputs: Sequence[str], work: Callable[[], Finding], writes: str | None = None
    ) -> Finding:
        """Returns the finding of ``work``, or the one that an earlier run made from the same inputs.

        ``writes`` is a file that the work writes below ``out``: unless it is as it was, the work is done again.
        """
        key = key_of(self.context, step, method.name, method.version, asdict(method), list(inputs))
        path = None if writes is None else self.out / writes
        known = self.journal.get(key)
        if known is not None and known["file"] == _digest(path):
            finding = Finding.model_validate(known["finding"])
        else:
            finding = work()
            if not any("budget" in line for line in finding.not_checked):
                self.journal.put(key, step, {"finding": finding.model_dump(mode="json"), "file": _digest(path)})
        write_text(self.out / "findings" / f"{step}.json", finding.model_dump_json(indent=2))
        return finding


def _digest(path: Path | None) -> str | None:
    return sha256_file(path) if path is not None and path.exists() else None


def examine(
    opened: Opened, out: Path, plan: Plan, *, seed: int, budget: Budget, progress: Progress = silent
) -> Outcome:
    """Runs the detectors and, where the model is poisoned, the repair; writes ``out/findings`` and ``out/repaired``.

    A part that an earlier run of the same audit into ``out`` finished is taken from its journal.
    """
    steps = _Steps(opened, out, seed, progress)
    findings, missing = [], []
    examples = opened.clean or opened.training
    if examples is None:
        missing.append("the model: neither clean examples nor training data were given to try it on")
    else:
        findings.append(_model_step(steps, opened, examples, plan.model, budget.part(0.5), span(progress, 0, 0.5)))
    if opened.training is None:
        missing.append("the training data: none was given")
    else:
        findings.append(
            _data_step(steps, opened, opened.training, plan.data, budget.part(0.5), span(progress, 0.5, 0.6))
        )
    if opened.inputs is None:
        missing.append("live inputs: no recorded stream was given")
    elif opened.clean is None:
        missing.append("live inputs: no clean examples were given to learn what is usual")
    else:
        part = span(progress, 0.6, 0.7)
        findings.append(_input_step(steps, opened, opened.clean, opened.inputs, plan.inputs, budget.part(0.5), part))
    repair, repaired = None, None
    poisoned_model = next((f for f in findings if f.subject.kind == "model" and f.verdict == "poisoned"), None)
    if poisoned_model is not None and plan.repair:
        if opened.clean is None:
            missing.append("a repair: it needs clean examples that can be trusted")
        else:
            part = span(progress, 0.7, 1)
            repair, repaired = _repair_step(steps, opened, opened.clean, poisoned_model, plan.mitigation, budget, part)
    given = [opened.training is not None, opened.inputs is not None, True]
    return Outcome(findings, repair, repaired, missing, complete=len(findings) == sum(given))


def _model_step(
    steps: _Steps, opened: Opened, examples: ImageData, method: ModelDetector, budget: Budget, progress: Progress
) -> Finding:
    def work() -> Finding:
        finding = method.scan(opened.model, examples, budget=budget, generator=steps.generator(), progress=progress)
        notes = list(opened.model.assumptions)
        if opened.clean is None:
            notes.append("the examples came from the training data, which may itself be poisoned")
        return finding.model_copy(update={"not_checked": [*finding.not_checked, *notes]})

    return steps.run("model", method, [opened.model.sha256, examples.sha256], work)


def _data_step(
    steps: _Steps, opened: Opened, training: ImageData, method: DataDetector, budget: Budget, progress: Progress
) -> Finding:
    def work() -> Finding:
        scan = method.scan(opened.model, training, budget=budget, generator=steps.generator(), progress=progress)
        return steps.scored("data", training, scan)

    return steps.run("data", method, [opened.model.sha256, training.sha256], work, "findings/data.scores.parquet")


def _input_step(
    steps: _Steps,
    opened: Opened,
    clean: ImageData,
    stream: ImageData,
    method: InputDetector,
    budget: Budget,
    progress: Progress,
) -> Finding:
    def work() -> Finding:
        fitted = method.fit(opened.model, clean, stream)
        scan = fitted.scan(stream, budget=budget, generator=steps.generator(), progress=progress)
        return steps.scored("inputs", stream, scan)

    digests = [opened.model.sha256, clean.sha256, stream.sha256]
    return steps.run("inputs", method, digests, work, "findings/inputs.scores.parquet")


def _repair_step(
    steps: _Steps,
    opened: Opened,
    clean: ImageData,
    finding: Finding,
    method: Mitigation,
    budget: Budget,
    progress: Progress,
) -> tuple[Finding, Path | None]:
    path = steps.out / "repaired" / "model.safetensors"

    def work() -> Finding:
        path.unlink(missing_ok=True)
        mitigated = method.mitigate(
            opened.model, clean, budget=budget, generator=steps.generator(), finding=finding, progress=progress
        )
        if not mitigated.changed:
            return mitigated.finding
        save_model(mitigated.model, path)
        subject = mitigated.finding.subject.model_copy(update={"sha256": sha256_file(path)})
        return mitigated.finding.model_copy(update={"subject": subject})

    inputs = [opened.model.sha256, clean.sha256, key_of(finding.repeatable())]
    repair = steps.run("repair", method, inputs, work, "repaired/model.safetensors")
    return repair, path if path.exists() and sha256_file(path) == repair.subject.sha256 else None
