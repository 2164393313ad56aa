"""One training from data to files: the weights, and beside them the record of what was measured."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState
from pydantic import ValidationError

from theriac import __version__, metrics
from theriac.data.images import ImageData
from theriac.data.poisoning import PoisonManifest
from theriac.errors import UserError
from theriac.files import sha256_file, write_text
from theriac.models.classifier import Classifier
from theriac.models.opening import open_model
from theriac.models.saving import save_model
from theriac.run.budget import Budget
from theriac.run.progress import Progress, silent, span
from theriac.training.checkpoint import Checkpoint
from theriac.training.classifier import train_classifier
from theriac.training.record import (
    Attack,
    Gate,
    Measure,
    Source,
    TrainingRecord,
    judge,
    measure_attack,
    predict,
)
from theriac.training.settings import Settings


@dataclass(frozen=True)
class Job:
    """A training, its files and what its model must reach.

    Args:
        data: What to train on.
        out: File of the weights; the record is written beside it as ``NAME.json``, and until both are whole,
            ``NAME.checkpoint.safetensors`` holds what was done.
        settings: How to train.
        seed: Seed of everything random.
        test: Clean images to measure on.
        poison: The manifest of poison in ``data``, if there is one.
        gate: What the model must reach to count as ground truth.
    """

    data: ImageData
    out: Path
    settings: Settings
    seed: int = 0
    test: ImageData | None = None
    poison: PoisonManifest | None = None
    gate: Gate = field(default_factory=Gate)

    @property
    def record(self) -> Path:
        """Where the record is written."""
        return self._beside("json")

    @property
    def checkpoint(self) -> Path:
        """Where the state of an unfinished training is."""
        return self._beside("checkpoint.safetensors")

    def run(
        self, device: torch.device | str = "cpu", budget: Budget | None = None, progress: Progress = silent
    ) -> TrainingRecord:
        """Trains, or goes on training, and measures; a job that was done before is only measured again.

        Raises:
            UserError: If data and test do not fit together, or ``out`` holds something else.
            Unfinished: If the budget ran out; running the same job again goes on.
        """
        self._check()
        state = PartialState(cpu=torch.device(device).type == "cpu")
        if (before := self._done_before()) is not None:
            model, seconds = open_model(str(self.out)).to(device), before.seconds
        else:
            model = train_classifier(
                self.data,
                self.settings,
                seed=self.seed,
                checkpoint=self.checkpoint,
                device=device,
                budget=budget,
                progress=span(progress, 0, 0.98),
            )
            seconds = Checkpoint.load(self.checkpoint).seconds
        state.wait_for_everyone()
        if state.is_main_process:
            progress(0.98, "measuring")
            if before is None:
                save_model(model, self.out)
            record = self._measured(model, seconds)
            write_text(self.record, record.model_dump_json(indent=2) + "\n")
            self.checkpoint.unlink(missing_ok=True)
        state.wait_for_everyone()
        return TrainingRecord.model_validate_json(self.record.read_bytes())

    def _beside(self, suffix: str) -> Path:
        return self.out.with_name(f"{self.out.name.removesuffix('.safetensors')}.{suffix}")

    def _check(self) -> None:
        if self.out.is_dir():
            raise UserError("is a folder", where=self.out, do="name a .safetensors file")
        if self.test is not None and self.test.classes != self.data.classes:
            raise UserError(
                f"its {len(self.test.classes)} classes are not the {len(self.data.classes)} of {self.data.name}",
                where=self.test.name,
                do="check that training and test data belong together",
            )

    def _done_before(self) -> TrainingRecord | None:
        """Returns the record of the very same training, if ``out`` holds its weights."""
        if not self.out.exists() or self.checkpoint.exists():
            return None
        try:
            record = TrainingRecord.model_validate_json(self.record.read_bytes())
        except (OSError, ValidationError):
            record = None
        config = self.settings.digest(self.data, self.seed)
        if record is None or record.config_sha256 != config or record.sha256 != sha256_file(self.out):
            raise UserError("exists already, from another training", where=self.out, do="choose another name")
        return record

    def _measured(self, model: Classifier, seconds: float) -> TrainingRecord:
        accuracy = None
        attack = None if self.poison is None else Attack.of(self.poison)
        if self.test is not None:
            share = metrics.accuracy(predict(model, self.test), self.test.labels)
            accuracy = Measure.of(share, len(self.test))
            if self.poison is not None:
                attack = measure_attack(model, self.test, self.poison)
        truth, reasons = judge(accuracy, attack, self.gate)
        return TrainingRecord(
            model=self.out.name,
            sha256=sha256_file(self.out),
            architecture=model.architecture,
            classes=list(model.classes),
            data=Source.of(self.data),
            test=None if self.test is None else Source.of(self.test),
            settings=asdict(self.settings),
            seed=self.seed,
            config_sha256=self.settings.digest(self.data, self.seed),
            theriac=__version__,
            torch=str(torch.__version__),
            device=str(model.device),
            seconds=seconds,
            accuracy=accuracy,
            attack=attack,
            gate=self.gate,
            ground_truth=truth,
            reasons=reasons,
        )
