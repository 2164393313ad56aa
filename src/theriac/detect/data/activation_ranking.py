"""Ranks training rows by what the model trained on them makes of them: two kinds of example under one label.

Tran, Li & Madry, "Spectral Signatures in Backdoor Attacks", NeurIPS 2018; Chen et al., "Detecting Backdoor Attacks on
Deep Neural Networks by Activation Clustering", SafeAI 2019. How we join and change them is told in
``theriac.detect.data.split``; how we decide, here. Neither paper says whether a class is poisoned at all: one removes
1.5 times an assumed rate, the other compares cluster sizes. We compare the evidence for two groups with that of the
other classes and with what clean classes show, so the estimated number of poisoned rows of clean data is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from theriac.data.images import ImageData
from theriac.detect import DataScan, Scores
from theriac.detect.data.split import Split, best_split
from theriac.detect.data.verdict import class_probabilities
from theriac.detect.evidence import histogram, ranked
from theriac.detect.statistics import ClassMoments
from theriac.errors import UserError
from theriac.finding import Evidence, Finding, Method, Subject, SuspectedClasses, Table, verdict_of
from theriac.models.activations import Activations, default_layers, penultimate
from theriac.models.classifier import Classifier
from theriac.registry import settings_of
from theriac.run.budget import Budget, peak_memory
from theriac.run.progress import Progress, silent, span


@dataclass(frozen=True)
class ActivationRanking:
    """Spectral signatures and activation clustering, joined into one ranking with an estimated count.

    A row's score is its distance from the main group of its class, in standard deviations towards the second group,
    times the probability that the class is poisoned; so scores compare across classes.

    Args:
        layers: Names of the layers, as in ``theriac.models.activations``, used side by side; by default the penultimate
            and as many stages before it, last first, as fit into ``width``.
        width: Features beyond which no further stage is added.
        components: Directions kept per class (the clustering paper's 10).
        shrinkage: Weight of ``trace/d I`` in the covariance within the other classes, in (0, 1].
        min_rows: Classes with fewer rows are not judged.
        batch_size: Rows per forward pass.
    """

    layers: tuple[str, ...] | None = None
    width: int = 1024
    components: int = 10
    shrinkage: float = 1e-3
    min_rows: int = 40
    batch_size: int = 256

    name: ClassVar[str] = "activation-ranking"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Tran et al. 2018, arXiv:1811.00636; Chen et al. 2019, arXiv:1811.03728"

    def scan(
        self,
        model: Classifier | None,
        data: ImageData,
        *,
        budget: Budget,
        generator: torch.Generator,
        progress: Progress = silent,
    ) -> DataScan:
        """Scores every row of ``data`` by the activations of ``model``, which was trained on it.

        Raises:
            UserError: If there is no model, or its activations are not finite.
        """
        if model is None:
            raise UserError("activation-ranking looks inside a model", do="name the model trained on this data")
        rows = self._activations(model, data, budget, span(progress, 0, 0.7))
        splits: dict[int, Split] = {}
        if len(rows) == len(data):
            splits = self._splits(rows, data.labels, len(data.classes), budget, span(progress, 0.7, 1))
        probabilities = class_probabilities(splits)
        scores = _scores(data, splits, probabilities)
        skipped = self._not_checked(data, len(rows), splits)
        complete = len(rows) == len(data) and not any("budget" in line for line in skipped)
        probability = round(max(probabilities.values(), default=0.5), 4)
        verdict = verdict_of(probability)
        finding = Finding(
            subject=Subject(kind="data", name=data.name, sha256=data.sha256),
            method=Method(name=self.name, version=self.version, settings=settings_of(self)),
            probability=probability,
            verdict=verdict if complete or verdict == "poisoned" else "inconclusive",
            summary=_summary(data, scores, probabilities, complete),
            evidence=_evidence(data, scores, splits, probabilities) if splits else [],
            not_checked=skipped,
            seconds=budget.spent(),
            peak_memory=peak_memory(),
            device=str(model.device),
            seed=generator.initial_seed(),
        )
        progress(1.0, "done")
        return DataScan(finding, scores)

    def _activations(self, model: Classifier, data: ImageData, budget: Budget, progress: Progress) -> Tensor:
        """Returns the rows [m, d] of as much of ``data`` as the budget allows."""
        last = penultimate(model)
        parts, chosen = [torch.zeros(0, 1)], self.layers
        with Activations(model, self.layers or default_layers(model)) as capture:
            for images, _ in data.batches(self.batch_size, model.device):
                if budget.expired:
                    break
                found = capture(images)
                if chosen is None:
                    chosen = _fitting(found, last, self.width)
                parts.append(torch.cat([found[layer] for layer in chosen], 1).cpu())
                progress(sum(map(len, parts)) / len(data), "activations")
        return torch.cat(parts[1:] or parts)

    def _splits(
        self, rows: Tensor, labels: Tensor, classes: int, budget: Budget, progress: Progress
    ) -> dict[int, Split]:
        moments = ClassMoments(classes, rows.shape[1])
        for x, y in zip(torch.split(rows, 4096), torch.split(labels, 4096), strict=True):
            moments.update(x.double(), y)  # the order of rows must not matter
        splits = {}
        for c in range(classes):
            own = rows[labels == c].double()
            if len(own) < self.min_rows or budget.expired:
                continue
            centred = own - moments.means[c]
            freedom = float(moments.counts.sum() - len(own) - (moments.counts > 0).sum() + 1)
            others = (moments.scatter - centred.T @ centred) / max(freedom, 1.0)
            if freedom < self.min_rows:  # one class only: nothing to compare with but itself
                others = moments.covariance()
            k = min(self.components, rows.shape[1])
            splits[c] = best_split(own, others, components=k, shrinkage=self.shrinkage)
            progress((c + 1) / classes, "splitting classes")
        return splits

    def _not_checked(self, data: ImageData, seen: int, splits: dict[int, Split]) -> list[str]:
        if seen < len(data):
            return [f"the budget ended after {seen} of {len(data)} rows"]
        counts = torch.bincount(data.labels, minlength=len(data.classes)).tolist()
        small = [data.classes[c] for c, n in enumerate(counts) if n < self.min_rows]
        late = [data.classes[c] for c, n in enumerate(counts) if n >= self.min_rows and c not in splits]
        lines = []
        if small:
            lines.append(f"classes with fewer than {self.min_rows} rows: {', '.join(small[:10])}")
        if late:
            lines.append(f"classes left when the budget ended: {', '.join(late[:10])}")
        return [*lines, "poison that the model does not tell from clean examples of its class"]


def _fitting(rows: Mapping[str, Tensor], last: str, width: int) -> tuple[str, ...]:
    """Returns ``last`` and the stages before it, last first, until ``width`` features are reached."""
    chosen, total = [last], rows[last].shape[1]
    for layer in reversed(list(rows)):
        twin = rows[layer].shape == rows[last].shape and torch.allclose(rows[layer], rows[last], rtol=1e-4)
        if layer != last and not twin and total + rows[layer].shape[1] <= width:  # pooling makes twins
            chosen.append(layer)
            total += rows[layer].shape[1]
    return tuple(chosen)


def _scores(data: ImageData, splits: dict[int, Split], probabilities: dict[int, float]) -> Scores:
    values = torch.zeros(len(data), dtype=torch.float64)
    suspected = torch.zeros(len(data), dtype=torch.bool)
    reasons = [""] * len(data)
    for c, split in splits.items():
        own = (data.labels == c).nonzero()[:, 0]
        values[own] = split.distance.clamp(min=0) * probabilities[c]
        if probabilities[c] <= 0.5:
            continue
        suspected[own] = split.log_odds > 0
        for row, distance in zip(own.tolist(), split.distance.tolist(), strict=True):
            if suspected[row]:
                reasons[row] = f"in the model, {distance:.0f} deviations away from most of {data.classes[c]!r}"
    return Scores(values, suspected, reasons)


def _summary(data: ImageData, scores: Scores, probabilities: dict[int, float], complete: bool) -> str:
    found = [c for c, p in probabilities.items() if p > 0.5]
    if found:
        names = ", ".join(
            f"{int(scores.suspected[data.labels == c].sum())} of {int((data.labels == c).sum())} {data.classes[c]!r}"
            for c in found
        )
        return f"About {int(scores.suspected.sum())} of {len(data)} rows look poisoned: {names}."
    return f"No class of the {len(data)} rows divides as poison makes it divide{'' if complete else ', so far'}."


def _evidence(
    data: ImageData, scores: Scores, splits: dict[int, Split], probabilities: dict[int, float]
) -> list[Evidence]:
    evidence: list[Evidence] = []
    for c in sorted(probabilities, key=lambda c: -probabilities[c]):
        if probabilities[c] > 0.5:
            split = splits[c]
            reason = (
                f"{int((split.log_odds > 0).sum())} of its {len(split.distance)} rows form a second group "
                f"{split.separation:.1f} deviations away from the others, with a gap between"
            )
            evidence.append(SuspectedClasses(target=c, target_name=data.classes[c], reason=reason))
    title = "Most suspicious training rows" if evidence else "Training rows farthest from the rest of their class"
    evidence.append(ranked(title, data.images, data.labels, data.classes, scores))
    worst = max(splits, key=lambda c: (probabilities[c], -splits[c].valley))
    apart = splits[worst].log_odds > 0
    parts = {"main group": splits[worst].distance[~apart], "second group": splits[worst].distance[apart]}
    name = data.classes[worst]
    evidence.append(histogram(f"How {name!r} divides in the model", "deviations from the main group", parts))
    rows: list[list[str | float | int | None]] = [
        [
            data.classes[c],
            len(splits[c].distance),
            int(scores.suspected[data.labels == c].sum()),
            round(splits[c].separation, 2),
            round(splits[c].valley, 3),
            round(splits[c].gain, 3),
            round(splits[c].spectral_gap, 2),
            round(probabilities[c], 4),
        ]
        for c in sorted(splits)
    ]
    columns = ["class", "rows", "suspected", "separation", "valley", "gain per row", "spectral gap", "P(poisoned)"]
    evidence.append(Table(title="How each class divides", columns=columns, rows=rows))
    return evidence
