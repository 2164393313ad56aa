"""What a task is: a model, what a defender has of its inputs, and what only the evaluation knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from pydantic import JsonValue
from torch import Tensor

from theriac.detect.inputs.observing import Inputs
from theriac.run.budget import Budget
from theriac.run.progress import Progress, silent


@dataclass(frozen=True)
class Mixture:
    """Usual and anomalous inputs together.

    Attributes:
        inputs: What a defender sees.
        anomalous: bool [n]; the evaluator's view.
        agree: bool [n]: for models that answer one way for some and another way for others, where both answers are the
            same, so that an anomaly makes no difference. None where that means nothing.
    """

    inputs: Inputs
    anomalous: Tensor
    agree: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """A scenario with ground truth.

    Attributes:
        name: Of the task maker.
        seed: Of everything random in it.
        model: The model that is looked into; see :class:`theriac.detect.inputs.observing.Observed`.
        trusted: Usual inputs with their labels, that the model was not trained on.
        untrusted: Unlabelled inputs for methods that use some.
        test: What detectors are measured on.
        target: The class that anomalous inputs are led to, if there is one.
        alarm: False for an ablation, whose "anomalous" inputs no detector should alarm about.
        about: What it was made of and what was measured: settings, trigger, ASR, accuracy.
    """

    name: str
    seed: int
    model: Any
    trusted: Inputs
    untrusted: Mixture
    test: Mixture
    target: int | None = None
    alarm: bool = True
    about: Mapping[str, JsonValue] = field(default_factory=dict)


class TaskMaker(Protocol):
    """Makes a task; its settings are the fields of a frozen dataclass."""

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
            UserError: If it cannot be made, an attack that does not work included.
        """
        ...
