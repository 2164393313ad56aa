"""What every input detector is: learned from trusted inputs, one score per layer and input, a threshold that holds.

A new detector is one file: a dataclass of its settings that derives from :class:`LayerDetector`, learns in ``_learn``
and scores in ``_score``. Splitting off held-out inputs, combining layers, the threshold, scanning a stream, saving and
loading are done here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from theriac.detect import DataScan
from theriac.detect.inputs.combining import Combination, Combine
from theriac.detect.inputs.observing import Inputs, Observations, Seen, observe
from theriac.detect.inputs.report import Stream, report
from theriac.detect.inputs.stream import conformal_threshold
from theriac.errors import UserError
from theriac.finding import Method
from theriac.models.activations import default_layers
from theriac.registry import settings_of
from theriac.run.budget import Budget
from theriac.run.progress import Progress, silent

Mode = Literal["online", "offline", "data set"]
"""Whether an input is judged by itself, by a detector that has seen unlabelled suspicious inputs, or among its set."""

Need = Literal["trusted", "untrusted", "labels", "anomalies"]
"""What a method is given: trusted inputs, untrusted ones, labels of the trusted, which untrusted ones are anomalous."""

FEWEST = 20
"""Trusted inputs that every method needs."""


@dataclass
class LayerDetector(ABC):
    """Scores inputs layer by layer and combines the layers.

    Learned state ends in ``_``: ``model_``, ``layers_``, ``combination_``, ``threshold_``, ``calibration_`` (how many
    trusted inputs set it), ``widths_`` of the layers, and what the method names in ``learned``: tensors, plain values,
    and mappings and lists of them, so that they can be saved.

    Args:
        layers: Names of layers; by default all stages, the penultimate and the logits.
        combine: How layers become one score: ``mean``, ``max``, or ``both``, the larger of the two.
        false_positive_rate: Share of trusted inputs above the threshold.
        held_out: Share of the trusted inputs that set scale and threshold and are not learned from.
        batch_size: Inputs per forward pass.
    """

    layers: tuple[str, ...] | None = None
    combine: Combine = "both"
    false_positive_rate: float = 0.01
    held_out: float = 0.5
    batch_size: int = 256

    name: ClassVar[str]
    version: ClassVar[str]
    paper: ClassVar[str]
    mode: ClassVar[Mode] = "online"
    needs: ClassVar[frozenset[Need]] = frozenset({"trusted"})
    welcomes: ClassVar[frozenset[Need]] = frozenset()
    """What it makes use of where it is given, but can do without."""
    learned: ClassVar[tuple[str, ...]] = ()
    keeps_rate: ClassVar[bool] = False
    """Whether the false-positive rate also holds on the untrusted inputs that it was fitted on."""
    positive: ClassVar[bool] = True
    """Whether raw scores are positive and heavy-tailed, so that logarithms are compared."""

    def fit(
        self, model: Any, trusted: Inputs, untrusted: Inputs | None = None, anomalous: Tensor | None = None
    ) -> Self:
        """Learns what is usual inside ``model``.

        Args:
            model: A classifier, or any model that :class:`~theriac.detect.inputs.observing.Observed` describes.
            trusted: Inputs known to be usual, that the model was not trained on.
            untrusted: Unlabelled inputs, some of them perhaps anomalous; only methods that need them look at them.
            anomalous: bool [len(untrusted)]: which of those are; only for methods that measure what can be known.

        Raises:
            UserError: If there are too few trusted inputs, something that the method needs is missing, or activations
                are not finite.
        """
        self._check_needs(untrusted, anomalous)
        learn, held = split(trusted, self.held_out)
        layers = self.chosen_layers(model)
        other = None if untrusted is None else Observations(model, untrusted, layers, self.batch_size)
        learning = Observations(model, learn, layers, self.batch_size)
        return self.fit_observed(learning, Observations(model, held, layers, self.batch_size), other, anomalous)

    def fit_observed(
        self,
        trusted: Observations,
        held: Observations,
        untrusted: Observations | None = None,
        anomalous: Tensor | None = None,
    ) -> Self:
        """Learns as :meth:`fit` does, from observations; ``held`` sets scale and threshold."""
        self._check_needs(untrusted, anomalous)
        untrusted = untrusted if self.uses("untrusted") else None
        self.model_, self.layers_ = trusted.model, trusted.layers
        self.fitted_on_ = "" if untrusted is None else untrusted.data.sha256
        self._learn(trusted, untrusted, anomalous if "anomalies" in self.needs else None)
        scores: dict[str, list[Tensor]] = {}
        self.widths_: dict[str, int] = {}
        for seen in held:
            self.widths_ = {layer: rows.shape[1] for layer, rows in seen.rows.items()}
            for key, values in self._score(seen).items():
                scores.setdefault(key, []).append(values.double().cpu())
        return self._calibrate({key: torch.cat(values) for key, values in scores.items()})

    def _calibrate(self, scores: Mapping[str, Tensor]) -> Self:
        """Sets scale and threshold by the ``scores`` [n] of held-out trusted inputs."""
        if not all(values.isfinite().all() for values in scores.values()):
            raise UserError(f"scores of {self.name} on trusted inputs are not finite", do="check the model's weights")
        self.combination_ = self._combination().fit(scores)
        combined = self.combination_(scores)
        self.calibration_ = len(combined)
        self.threshold_ = conformal_threshold(combined, self.false_positive_rate)
        return self

    @classmethod
    def uses(cls, what: Need) -> bool:
        """Returns whether the method looks at something if it is given."""
        return what in cls.needs | cls.welcomes

    def chosen_layers(self, model: Any) -> tuple[str, ...]:
        """Returns the layers that are looked at; a vocabulary's logits are too many to be among the default ones."""
        answers = [model.head()[0]] if model.classes else []
        return tuple(self.layers or (*default_layers(model), *answers))

    @abstractmethod
    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        """Sets the attributes in ``learned``; ``untrusted`` and ``anomalous`` are there if the method needs them."""

    @abstractmethod
    def _score(self, seen: Seen) -> dict[str, Tensor]:
        """Returns layer -> raw scores [b], higher is more anomalous, whatever else is in the batch."""

    def score(self, inputs: Any) -> dict[str, Tensor]:
        """Returns layer -> raw scores [b] of a batch as the model takes it; higher is more anomalous.

        Raises:
            UserError: If the detector is not fitted.
        """
        self.check_fitted()
        return self._score(observe(self.model_, inputs, self.layers_))

    def score_observed(self, seen: Seen) -> dict[str, Tensor]:
        """Scores as :meth:`score` does, from observations.

        Raises:
            UserError: If the detector is not fitted.
        """
        self.check_fitted()
        return self._score(seen)

    def aggregate(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Returns one score [b] of the layers' raw scores; comparable with ``threshold_``."""
        return self.combination_(scores)

    def predict(self, inputs: Any) -> Tensor:
        """Returns bool [b]: which inputs are above the threshold."""
        return self.aggregate(self.score(inputs)) > self.threshold_

    def _combination(self) -> Combination:
        """Returns how layers become one score, not fitted; to override where a setting decides on ``positive``."""
        return Combination(self.combine, positive=self.positive)

    def check_fitted(self) -> None:
        """Raises ``UserError`` if nothing was learned yet."""
        if not hasattr(self, "threshold_"):
            raise UserError("the detector is not fitted", do="call fit with trusted inputs, or load a fitted one")

    def _check_needs(self, untrusted: object, anomalous: object) -> None:
        if "untrusted" in self.needs and untrusted is None:
            raise UserError(f"{self.name} needs untrusted inputs too", do="give some, or choose an online method")
        if "anomalies" in self.needs and anomalous is None:
            raise UserError(f"{self.name} must be told which untrusted inputs are anomalous", do="use it on tasks only")

    def scan(self, inputs: Any, *, budget: Budget, generator: torch.Generator, progress: Progress = silent) -> DataScan:
        """Scores a recorded stream: are more inputs above the threshold than its false-positive rate explains?

        Raises:
            UserError: If the detector is not fitted.
        """
        self.check_fitted()
        values, predicted, worst, done = [torch.zeros(0).double()], [torch.zeros(0).long()], [torch.zeros(0).long()], 0
        keys = list(self.combination_.centre_)
        for batch, _ in inputs.batches(self.batch_size, self.model_.device):
            if budget.expired:
                break
            seen = observe(self.model_, batch, self.layers_)
            scores = self._score(seen)
            values.append(self.aggregate(scores).cpu())
            worst.append(self.combination_.standard(scores).argmax(0).cpu())
            predicted.append(seen.predicted.cpu())
            done += len(seen)
            progress(done / len(inputs), "activations")
        given, places = torch.cat(predicted), torch.cat(worst)
        reasons = [
            self._reason(class_, keys[place]) if value > self.threshold_ else ""
            for value, class_, place in zip(torch.cat(values).tolist(), given.tolist(), places.tolist(), strict=True)
        ]
        return report(
            Stream(
                inputs, torch.cat(values), given, reasons, self.threshold_, self.false_positive_rate, self.calibration_
            ),
            method=Method(name=self.name, version=self.version, settings=settings_of(self)),
            model=self.model_,
            axis="deviation from trusted inputs, in standard deviations",
            budget=budget,
            seed=generator.initial_seed(),
            not_checked=[*self.not_checked(), *self._doubts(inputs)],
        )

    def _doubts(self, inputs: Inputs) -> list[str]:
        if self.fitted_on_ != inputs.sha256 or self.keeps_rate:
            return []
        return ["whether the false-positive rate holds: the detector was fitted on these inputs, and it is for others"]

    def not_checked(self) -> list[str]:
        """Returns what this fitted detector does not look at, beyond what no input detector does."""
        return []

    def _reason(self, predicted: int, layer: str) -> str:
        where = f", most in {layer}" if len(self.combination_.centre_) > 1 else ""
        if len(self.model_.classes) > 1:
            return f"taken for {self.model_.classes[predicted]!r} but unlike trusted inputs so taken{where}"
        return f"unlike trusted inputs{where}"

    def save(self, folder: Path, *, notes: Mapping[str, Any] | None = None) -> None:
        """Writes the fitted detector to ``folder``: what it is as JSON, its tensors as safetensors; no pickles.

        Args:
            folder: A folder that does not exist yet or holds a detector, which is replaced.
            notes: What else is worth keeping, as JSON: validation figures, where the model lies.

        Raises:
            UserError: If the detector is not fitted or ``folder`` cannot be written.
        """
        from theriac.detect.inputs.saving import save_detector

        self.check_fitted()
        save_detector(folder, self, dict(notes or {}))

    @classmethod
    def load(cls, folder: Path, model: Any) -> Self:
        """Reads a detector of this method that was fitted on ``model``.

        Raises:
            Refused: If the files are unsound.
            UserError: If they are missing, or of another method, version or model.
        """
        from theriac.detect.inputs.saving import load_detector

        detector = load_detector(folder, model)
        if not isinstance(detector, cls):
            raise UserError(f"was fitted by {detector.name}", where=folder)
        return detector

    def state(self) -> dict[str, Any]:
        """Returns what was learned: tensors, plain values, mappings and lists of them."""
        own = {name: getattr(self, name) for name in self.learned}
        return own | {
            "layers_": list(self.layers_),
            "widths_": self.widths_,
            "combination_": self.combination_.state(),
            "threshold_": self.threshold_,
            "fitted_on_": self.fitted_on_,
            "calibration_": self.calibration_,
        }

    def restore(self, state: Mapping[str, Any], model: Any) -> Self:
        """Takes over what :meth:`state` returned, tensors already where the model is.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: If it is something else.
        """
        for name in self.learned:
            setattr(self, name, state[name])
        self.model_, self.fitted_on_ = model, str(state["fitted_on_"])
        self.layers_ = tuple(str(layer) for layer in state["layers_"])
        self.widths_ = {str(layer): int(width) for layer, width in state["widths_"].items()}
        self.combination_ = self._combination().restore(state["combination_"])
        self.threshold_, self.calibration_ = float(state["threshold_"]), int(state["calibration_"])
        return self

    def try_out(self) -> None:
        """Scores made-up rows, so that a damaged state is found when it is read; raises whatever goes wrong."""
        device = self.model_.device
        rows = {layer: torch.zeros(2, width, device=device) for layer, width in self.widths_.items()}
        nothing = torch.zeros(2, dtype=torch.int64, device=device)
        self.aggregate(self._score(Seen(rows, nothing, nothing)))


def split(trusted: Inputs, held_out: float) -> tuple[Inputs, Inputs]:
    """Returns the trusted inputs to learn from, and those that set the threshold, chosen by a fixed seed.

    Raises:
        UserError: If there are fewer than ``FEWEST`` or ``held_out`` leaves too few of either.
    """
    held = int(held_out * len(trusted))
    if held < 2 or len(trusted) - held < FEWEST // 2:
        what = f"{len(trusted)} trusted inputs are too few"
        raise UserError(what, where=trusted.name, do=f"give at least {FEWEST}, more for a low false-positive rate")
    order = torch.randperm(len(trusted), generator=torch.Generator().manual_seed(0))
    return trusted[order[held:].sort().values], trusted[order[:held].sort().values]
