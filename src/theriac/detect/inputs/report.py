"""From the scores of a recorded stream of inputs to a finding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theriac.data.images import ImageData
from theriac.detect import DataScan, Scores
from theriac.detect.evidence import histogram, ranked
from theriac.detect.inputs.observing import Inputs, Observed
from theriac.detect.inputs.stream import probability_of_anomalies
from theriac.finding import Evidence, Finding, Method, Subject, SuspectedClasses, verdict_of
from theriac.run.budget import Budget, peak_memory


@dataclass(frozen=True)
class Stream:
    """A scored stream.

    Attributes:
        inputs: The stream.
        values: [m] scores of its first m inputs: of all, unless the budget ended.
        predicted: [m] the classes that the model gives them to.
        reasons: One sentence for each of the m inputs.
        threshold: Scores above it are anomalous.
        rate: Share of trusted inputs above the threshold.
        calibration: How many trusted inputs set the threshold.
    """

    inputs: Inputs
    values: Tensor
    predicted: Tensor
    reasons: list[str]
    threshold: float
    rate: float
    calibration: int


def report(
    stream: Stream,
    *,
    method: Method,
    model: Observed,
    axis: str,
    budget: Budget,
    seed: int,
    not_checked: Sequence[str] = (),
) -> DataScan:
    """Says whether more of the stream is anomalous than the stated rate of false positives explains.

    The scores of inputs that the budget left out are 0 and not suspected; the finding says how many there are.
    """
    seen, total = len(stream.values), len(stream.inputs)
    suspected = stream.values > stream.threshold
    above = int(suspected.sum())
    probability = round(probability_of_anomalies(above, seen, stream.rate, stream.calibration), 4)
    verdict = verdict_of(probability)
    not_checked = ["inputs whose activations resemble those of trusted ones", *not_checked]
    if seen < total:
        not_checked.insert(0, f"the budget ended after {seen} of {total} inputs")
    if stream.calibration < 1 / stream.rate - 1:
        needed = f"a false-positive rate of {stream.rate:g} cannot be promised"
        not_checked.append(f"{needed}: only {stream.calibration} trusted inputs set the threshold")
    finding = Finding(
        subject=Subject(kind="input", name=stream.inputs.name, sha256=stream.inputs.sha256),
        method=method,
        probability=probability,
        verdict=verdict if seen == total or verdict == "poisoned" else "inconclusive",
        summary=(
            f"{above} of {seen} inputs are anomalous inside the model; "
            f"about {stream.rate * seen:.0f} would be if all were clean."
        ),
        evidence=_evidence(stream, suspected, probability, model, axis) if seen else [],
        not_checked=not_checked,
        seconds=budget.spent(),
        peak_memory=peak_memory(),
        device=str(model.device),
        seed=seed,
    )
    rest = total - seen
    scores = Scores(
        torch.cat([stream.values, torch.zeros(rest, dtype=stream.values.dtype)]),
        torch.cat([suspected, torch.zeros(rest, dtype=torch.bool)]),
        stream.reasons + [""] * rest,
    )
    return DataScan(finding, scores)


def _evidence(stream: Stream, suspected: Tensor, probability: float, model: Observed, axis: str) -> list[Evidence]:
    evidence: list[Evidence] = []
    if probability > 0.5 and len(model.classes) > 1:
        given = stream.predicted[suspected]
        target = int(given.bincount().argmax())
        share = float((given == target).double().mean())
        if share > 0.5:
            reason = f"the model gives it {share:.0%} of the {len(given)} anomalous inputs"
            evidence.append(SuspectedClasses(target=target, target_name=model.classes[target], reason=reason))
    scores = Scores(stream.values, suspected, stream.reasons)
    if isinstance(stream.inputs, ImageData):
        images = stream.inputs.images[: len(stream.values)]
        evidence.append(ranked("Most anomalous inputs", images, stream.predicted, model.classes, scores))
    title = "How unlike trusted inputs the stream is"
    evidence.append(histogram(title, axis, {"inputs": stream.values}, threshold=stream.threshold))
    return evidence
