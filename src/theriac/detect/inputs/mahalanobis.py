"""Mahalanobis distance of an input's activations to those of trusted inputs of the same predicted class.

Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS
2018.

We deviate from the paper in four ways. The distance is taken to the predicted class, not to the nearest one, because a
triggered input is near its true class and yet called another. The covariance is shrunk towards ``trace(C)/d I``: the
paper's inverse is blind to directions in which the trusted sample happens to have no variance. Layers are combined
without labelled anomalies: each layer's log distance is standardised on held-out trusted inputs and the results are
averaged. And the threshold is the conformal quantile of held-out trusted inputs for a stated false-positive rate.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from theriac.data.images import ImageData
from theriac.detect import DataScan
from theriac.detect.inputs.fitted import load_fitted, save_fitted
from theriac.detect.inputs.report import Stream, report
from theriac.detect.inputs.stream import conformal_threshold
from theriac.detect.statistics import ClassMoments, whitening
from theriac.errors import UserError
from theriac.finding import Method
from theriac.models.activations import Activations, default_layers
from theriac.models.classifier import Classifier
from theriac.registry import configured, settings_of
from theriac.run.budget import Budget
from theriac.run.progress import Progress, silent


@dataclass
class Mahalanobis:
    """Scores inputs by how far their activations are from trusted ones, over several layers.

    Learned state: ``model_``, ``layers_``, ``means_`` and ``whitening_`` (one per layer), ``centre_`` and ``scale_`` of
    the layers' log distances, ``threshold_``, and ``calibration_`` (how many trusted inputs set it).

    Args:
        layers: Names of layers; by default all stages, the penultimate and the logits.
        conditional: Compare with trusted inputs of the same predicted class instead of with all.
        shrinkage: Weight of ``trace/d I`` in the covariance, in (0, 1].
        combine: ``"mean"`` (finds what changes many layers a little) or ``"max"`` (one layer a lot).
        false_positive_rate: Share of trusted inputs above the threshold.
        held_out: Share of the trusted inputs that set scale and threshold and are not used for the statistics.
        batch_size: Inputs per forward pass.
    """

    layers: tuple[str, ...] | None = None
    conditional: bool = True
    shrinkage: float = 1e-3
    combine: Literal["mean", "max"] = "mean"
    false_positive_rate: float = 0.01
    held_out: float = 0.3
    batch_size: int = 256

    name: ClassVar[str] = "mahalanobis"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Lee et al. 2018, arXiv:1807.03888"

    def fit(self, model: Classifier, trusted: ImageData, untrusted: ImageData | None = None) -> Self:
        """Learns what is usual inside ``model`` from ``trusted`` inputs, in two passes; labels are not used.

        ``untrusted`` inputs are of no use to this method and are ignored.

        Raises:
            UserError: If there are too few trusted inputs, or their activations are not finite.
        """
        held = int(self.held_out * len(trusted))
        if held < 2 or len(trusted) - held < 10:
            raise UserError(f"{len(trusted)} trusted inputs are too few", where=trusted.name, do="give at least 20")
        order = torch.randperm(len(trusted), generator=torch.Generator().manual_seed(0))
        self.model_ = model
        self.layers_ = tuple(self.layers or (*default_layers(model), model.head()[0]))
        self._learn(trusted[order[held:].sort().values])
        distances = self._stream(trusted[order[:held].sort().values])
        logs = {layer: values.log() for layer, values in distances.items()}
        self.centre_ = {layer: float(values.mean()) for layer, values in logs.items()}
        self.scale_ = {layer: max(float(values.std()), 1e-6) for layer, values in logs.items()}
        self.calibration_ = held
        self.threshold_ = conformal_threshold(self.aggregate(distances), self.false_positive_rate)
        return self

    def _learn(self, trusted: ImageData) -> None:
        classes, moments = len(self.model_.classes) if self.conditional else 1, dict[str, ClassMoments]()
        for images, _ in trusted.batches(self.batch_size, self.model_.device):
            rows, predicted = self._rows(images)
            for layer, x in rows.items():
                known = moments.setdefault(layer, ClassMoments(classes, x.shape[1], x.device))
                known.update(x, predicted if self.conditional else None)
        self.means_, self.whitening_ = {}, {}
        for layer, known in moments.items():
            seen = known.counts[:, None] > 0  # a class that no trusted input is given to: compare with all
            self.means_[layer] = torch.where(seen, known.means, known.overall().means)
            self.whitening_[layer] = whitening(known.covariance(), self.shrinkage).contiguous()

    def _rows(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        logits = self.model_.head()[0]
        with Activations(self.model_, [*self.layers_, logits]) as capture:
            rows = capture(images)
        return {layer: rows[layer] for layer in self.layers_}, rows[logits].argmax(1)

    def score(self, inputs: Tensor) -> dict[str, Tensor]:
        """Returns layer -> squared distance per dimension [b] of ``inputs`` [b, 3, h, w]; about 1 for trusted inputs.

        Raises:
            UserError: If the detector is not fitted.
        """
        self._check_fitted()
        rows, predicted = self._rows(inputs)
        return {layer: self._distance(layer, x, predicted) for layer, x in rows.items()}

    def _check_fitted(self) -> None:
        if not hasattr(self, "whitening_"):
            raise UserError("the detector is not fitted", do="call fit with trusted inputs, or load a fitted one")

    def _distance(self, layer: str, rows: Tensor, predicted: Tensor) -> Tensor:
        means = self.means_[layer]
        centred = rows.double() - (means[predicted] if self.conditional else means)
        return (centred @ self.whitening_[layer].T).square().mean(1).clamp(min=1e-12)

    def aggregate(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Returns one score [b]: mean or max over layers of the log distance in trusted standard deviations."""
        standard = self._standard(scores)
        return standard.mean(0) if self.combine == "mean" else standard.amax(0)

    def _standard(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Returns the layers' scores [layers, b] in trusted standard deviations."""
        parts = [(scores[layer].log() - self.centre_[layer]) / self.scale_[layer] for layer in self.layers_]
        return torch.stack(parts)

    def _stream(self, data: ImageData) -> dict[str, Tensor]:
        parts = [self.score(images) for images, _ in data.batches(self.batch_size, self.model_.device)]
        return {layer: torch.cat([part[layer] for part in parts]) for layer in self.layers_}

    def scan(
        self, inputs: ImageData, *, budget: Budget, generator: torch.Generator, progress: Progress = silent
    ) -> DataScan:
        """Scores a recorded stream: are more inputs above the threshold than its false-positive rate explains?

        Raises:
            UserError: If the detector is not fitted.
        """
        self._check_fitted()
        device = self.model_.device
        values, predicted, worst = [torch.zeros(0).double()], [torch.zeros(0).long()], [torch.zeros(0).long()]
        for start in range(0, len(inputs), self.batch_size):
            if budget.expired:
                break
            rows, given = self._rows(inputs.pixels(slice(start, start + self.batch_size), device))
            distances = {layer: self._distance(layer, x, given) for layer, x in rows.items()}
            values.append(self.aggregate(distances).cpu())
            worst.append(self._standard(distances).argmax(0).cpu())
            predicted.append(given.cpu())
            progress(min(1.0, (start + self.batch_size) / len(inputs)), "activations")
        seen, given = torch.cat(values), torch.cat(predicted)
        reasons = [
            f"taken for {self.model_.classes[c]!r} but unlike trusted inputs so taken, most in {self.layers_[k]}"
            if value > self.threshold_
            else ""
            for value, c, k in zip(seen.tolist(), given.tolist(), torch.cat(worst).tolist(), strict=True)
        ]
        stream = Stream(inputs, seen, given, reasons, self.threshold_, self.false_positive_rate, self.calibration_)
        return report(
            stream,
            method=Method(name=self.name, version=self.version, settings=settings_of(self)),
            model=self.model_,
            axis=f"{self.combine} over layers of deviations from trusted inputs",
            budget=budget,
            seed=generator.initial_seed(),
        )

    def save(self, path: Path) -> None:
        """Writes the fitted detector to ``path`` as safetensors: settings, layers, statistics and the model's digest.

        Raises:
            UserError: If the detector is not fitted or ``path`` cannot be written.
        """
        self._check_fitted()
        tensors = {f"means/{layer}": value for layer, value in self.means_.items()}
        tensors |= {f"whitening/{layer}": value for layer, value in self.whitening_.items()}
        state: dict[str, Any] = {
            "layers": self.layers_,
            "centre": self.centre_,
            "scale": self.scale_,
            "threshold": self.threshold_,
            "calibration": self.calibration_,
        }
        save_fitted(path, self, self.model_, tensors, state)

    @classmethod
    def load(cls, path: Path, model: Classifier) -> Self:
        """Reads a detector that was fitted on ``model``.

        Raises:
            UserError: If the file is unsound, or of another method, version or model.
        """
        settings, tensors, state = load_fitted(path, cls, model)
        detector: Self = configured(cls, [f"{name}={json.dumps(value)}" for name, value in settings.items()])
        try:
            detector.layers_ = tuple(map(str, state["layers"]))
            detector.means_ = {layer: tensors[f"means/{layer}"] for layer in detector.layers_}
            detector.whitening_ = {layer: tensors[f"whitening/{layer}"] for layer in detector.layers_}
            detector.centre_ = {layer: float(state["centre"][layer]) for layer in detector.layers_}
            detector.scale_ = {layer: float(state["scale"][layer]) for layer in detector.layers_}
            detector.threshold_, detector.calibration_ = float(state["threshold"]), int(state["calibration"])
        except (KeyError, TypeError, ValueError):
            raise UserError("its statistics are incomplete", where=path, do="fit the detector again") from None
        detector.model_ = model
        return detector
