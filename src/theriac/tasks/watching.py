"""A task's inputs as detectors see them, observed once for all detectors, and how long that takes."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from theriac.detect.inputs.base import LayerDetector, split
from theriac.detect.inputs.observing import Inputs, Observations
from theriac.models.activations import evaluating
from theriac.tasks.task import Task

T = TypeVar("T")


class Watched:
    """Observations of a task's inputs for several detectors: one forward pass per set of inputs, kept in memory.

    Args:
        task: The task.
        detectors: All detectors that will be measured; the layers of all of them are kept.
        batch_size: Inputs per forward pass.
    """

    def __init__(self, task: Task, detectors: Sequence[LayerDetector], batch_size: int = 256) -> None:
        self.task, self.batch_size = task, batch_size
        two = task.trusted[torch.arange(min(2, len(task.trusted)))]
        layers: dict[str, None] = {}
        for detector in detectors:
            try:
                chosen = detector.chosen_layers(task.model)
                list(Observations(task.model, two, chosen))
            except Exception:  # told when that detector is measured, alone; others must not suffer from it
                continue
            layers |= dict.fromkeys(chosen)
        self.layers = tuple(layers)
        self._kept: dict[str, Observations] = {}
        self._seconds: dict[str, float] = {}

    def serves(self, detector: LayerDetector) -> bool:
        """Returns whether the layers of ``detector`` are among those that are kept."""
        return set(detector.chosen_layers(self.task.model)) <= set(self.layers)

    def trusted(self, held_out: float) -> tuple[Observations, Observations]:
        """Returns observations of the trusted inputs to learn from, and of those that set the threshold."""
        learn, held = split(self.task.trusted, held_out)
        return self._seen(f"learn {held_out}", learn), self._seen(f"held {held_out}", held)

    def untrusted(self) -> Observations:
        """Returns observations of the untrusted inputs."""
        return self._seen("untrusted", self.task.untrusted.inputs)

    def test(self) -> Observations:
        """Returns observations of the test inputs."""
        return self._seen("test", self.task.test.inputs)

    def watch(self, detector: LayerDetector) -> None:
        """Makes what ``detector`` will be given, unless that was done for another."""
        self.trusted(detector.held_out)
        self.test()
        if detector.uses("untrusted"):
            self.untrusted()

    def observe_seconds(self, detector: LayerDetector) -> float:
        """Returns how long the passes took that made what ``detector`` is given."""
        sets = [
            f"learn {detector.held_out}",
            f"held {detector.held_out}",
            "test",
            *(["untrusted"] if detector.uses("untrusted") else []),
        ]
        return sum(self._seconds[name] for name in sets)

    def forward_seconds(self, detector: LayerDetector) -> float:
        """Returns how long bare forward passes over the same inputs take."""
        sets = ["trusted", "test", *(["untrusted"] if detector.uses("untrusted") else [])]
        return sum(self._forward(name) for name in sets)

    def _seen(self, name: str, inputs: Inputs) -> Observations:
        if name not in self._kept:
            observations = Observations(self.task.model, inputs, self.layers, self.batch_size)
            self._kept[name], self._seconds[name] = timed(self.task.model.device, observations.kept)
        return self._kept[name]

    def _forward(self, name: str) -> float:
        if (key := f"forward {name}") not in self._seconds:
            sets = {
                "trusted": self.task.trusted,
                "test": self.task.test.inputs,
                "untrusted": self.task.untrusted.inputs,
            }
            self._seconds[key] = forward_seconds(self.task.model, sets[name], self.batch_size)
        return self._seconds[key]


def forward_seconds(model: Any, inputs: Inputs, batch_size: int = 256) -> float:
    """Returns how long a bare forward pass over ``inputs`` takes, reading them included."""

    def run() -> None:
        with evaluating(model), torch.no_grad():
            for batch, _ in inputs.batches(batch_size, model.device):
                model(batch)

    return timed(model.device, run)[1]


def timed(device: torch.device, work: Callable[[], T]) -> tuple[T, float]:
    """Returns what ``work`` returns, and its seconds; waits for ``device`` before and after."""
    _wait(device)
    start = time.perf_counter()
    done = work()
    _wait(device)
    return done, time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
