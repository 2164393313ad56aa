"""How good a detector is on a task: it is shown the defender's view, and its scores are compared with the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from theriac import __version__, metrics
from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.observing import Observations
from theriac.registry import settings_of
from theriac.tasks.results import Bounds, LayerResult, Result
from theriac.tasks.task import Task
from theriac.tasks.watching import Watched, forward_seconds, timed

FEWEST = 5
"""Inputs of either kind without which a figure about part of the test inputs is not given."""

REPEATS = 1000
"""Draws of the bootstrap intervals."""


@dataclass(frozen=True)
class Measured:
    """What a fitted detector made of a task's test inputs.

    Attributes:
        result: The figures.
        scores: float64 [n] of the test inputs; comparable with ``threshold``.
        layers: Layer -> raw scores [n].
        predicted: [n], the classes that the model gives them to.
        threshold: Above it the detector calls an input anomalous.
    """

    result: Result
    scores: Tensor
    layers: Mapping[str, Tensor]
    predicted: Tensor
    threshold: float


def measure(
    task: Task, detector: LayerDetector, watched: Watched | None = None, *, key: str = "", repeats: int = REPEATS
) -> Measured:
    """Fits ``detector`` on what a defender has, scores the test inputs and compares with the truth.

    Untrusted inputs go to methods that need some, and which of them are anomalous only to those that are there to show
    what could be known.

    Args:
        task: The task.
        detector: Not fitted yet.
        watched: Observations that several detectors share. Then ``fit_seconds`` and ``score_seconds`` are what the
            detector itself took, and the shared pass is in ``observe_seconds``; without, they hold forward passes too.
        key: Digest of everything that the figures depend on, for the result.
        repeats: Draws of the bootstrap intervals.

    Raises:
        UserError: If the detector cannot be fitted or its scores cannot be compared.
    """
    if watched is not None and not watched.serves(detector):
        watched = None
    if watched is not None:
        watched.watch(detector)  # so that the passes are not counted as the detector's own time
    _, fit_seconds = timed(task.model.device, lambda: _fit(task, detector, watched))
    measured = measure_fitted(task, detector, watched, key=key, repeats=repeats)
    untrusted = detector.uses("untrusted")
    if watched is not None:
        forward, observing = watched.forward_seconds(detector), watched.observe_seconds(detector)
    else:
        sets = [task.trusted, *([task.untrusted.inputs] if untrusted else [])]
        forward, observing = sum(forward_seconds(task.model, one, detector.batch_size) for one in sets), None
        forward += measured.result.forward_seconds or 0.0
    result = measured.result.model_copy(
        update={
            "fit_seconds": fit_seconds,
            "forward_seconds": forward,
            "observe_seconds": observing,
            "trusted": len(task.trusted),
            "untrusted": len(task.untrusted.inputs) if untrusted else 0,
        }
    )
    return replace(measured, result=result)


def measure_fitted(
    task: Task, detector: LayerDetector, watched: Watched | None = None, *, key: str = "", repeats: int = REPEATS
) -> Measured:
    """Scores the test inputs of ``task`` with a fitted detector, of another task with the same model perhaps.

    Raises:
        UserError: If it is not fitted or its scores cannot be compared.
    """
    detector.check_fitted()
    (scores, layers, predicted), seconds = timed(task.model.device, lambda: _score(task, detector, watched))
    truth = task.test.anomalous
    figures, intervals = _figures(task, scores, predicted, detector.threshold_, repeats)
    result = Result(
        task=task.name,
        detector=detector.name,
        seed=task.seed,
        key=key,
        intervals=intervals,
        layers={layer: _layer(values, truth) for layer, values in layers.items()},
        ablation=not task.alarm,
        nominal_fpr=detector.false_positive_rate,
        score_seconds=seconds,
        forward_seconds=forward_seconds(task.model, task.test.inputs, detector.batch_size) if watched is None else None,
        usual=int((~truth).sum()),
        anomalous=int(truth.sum()),
        mode=detector.mode,
        settings=settings_of(detector),
        device=str(task.model.device),
        theriac=__version__,
        **figures,
    )
    return Measured(result, scores, layers, predicted, detector.threshold_)


def _fit(task: Task, detector: LayerDetector, watched: Watched | None) -> None:
    anomalous = task.untrusted.anomalous if "anomalies" in detector.needs else None
    needed = detector.uses("untrusted")
    if watched is None:
        detector.fit(task.model, task.trusted, task.untrusted.inputs if needed else None, anomalous)
        return
    layers = detector.chosen_layers(task.model)
    learn, held = watched.trusted(detector.held_out)
    untrusted = watched.untrusted().only(layers) if needed else None
    detector.fit_observed(learn.only(layers), held.only(layers), untrusted, anomalous)


def _score(task: Task, detector: LayerDetector, watched: Watched | None) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Returns the combined scores, the raw ones by layer, and the predicted classes, each [n] on the CPU."""
    if watched is None:
        test = Observations(task.model, task.test.inputs, detector.layers_, detector.batch_size)
    else:
        test = watched.test().only(detector.layers_)
    combined, predicted = [torch.zeros(0).double()], [torch.zeros(0).long()]
    layers: dict[str, list[Tensor]] = {}
    for seen in test:
        raw = detector.score_observed(seen)
        combined.append(detector.aggregate(raw).double().cpu())
        predicted.append(seen.predicted.cpu())
        for layer, values in raw.items():
            layers.setdefault(layer, []).append(values.double().cpu())
    return torch.cat(combined), {layer: torch.cat(parts) for layer, parts in layers.items()}, torch.cat(predicted)


def _figures(
    task: Task, scores: Tensor, predicted: Tensor, threshold: float, repeats: int
) -> tuple[dict[str, Any], dict[str, Bounds]]:
    truth, agree = task.test.anomalous, task.test.agree
    figures: dict[str, Any] = {
        "auroc": metrics.auroc(scores, truth),
        "ap": metrics.average_precision(scores, truth),
        "tpr_at_1pct_fpr": metrics.tpr_at_fpr(scores, truth, 0.01),
        "tpr_at_01pct_fpr": metrics.tpr_at_fpr(scores, truth, 0.001),
        "fpr_at_95tpr": metrics.fpr_at_tpr(scores, truth, 0.95),
        "fpr": float((scores[~truth] > threshold).double().mean()),
        "tpr" if task.alarm else "alarms": float((scores[truth] > threshold).double().mean()),
    }
    intervals = _intervals(figures, scores, truth, repeats)
    parts = {
        "auroc_within_target": None if task.target is None else predicted == task.target,
        "auroc_agree": agree,
        "auroc_disagree": None if agree is None else ~agree,
    }
    for name, part in parts.items():
        if part is not None and min(int((truth & part).sum()), int((~truth & part).sum())) >= FEWEST:
            figures[name] = metrics.auroc(scores[part], truth[part])
            intervals[name] = _auroc_interval(figures[name], scores[part], truth[part], repeats)
    return figures, intervals


def _intervals(figures: Mapping[str, float], scores: Tensor, truth: Tensor, repeats: int) -> dict[str, Bounds]:
    """Returns bootstrap intervals of rankings, and Wilson's of shares above the threshold, which is not drawn anew."""
    usual, anomalous = int((~truth).sum()), int(truth.sum())
    found: dict[str, Bounds] = {
        "auroc": _auroc_interval(figures["auroc"], scores, truth, repeats),
        "ap": metrics.bootstrap(metrics.average_precision, scores, truth, repeats=repeats),
    }
    for name, rate in (("tpr_at_1pct_fpr", 0.01), ("tpr_at_01pct_fpr", 0.001)):
        drawn = metrics.bootstrap(metrics.tpr_at_fpr, scores, truth, repeats=repeats, fpr=rate)
        found[name] = drawn if drawn.low < drawn.high else metrics.wilson(figures[name], anomalous)
    drawn = metrics.bootstrap(metrics.fpr_at_tpr, scores, truth, repeats=repeats, tpr=0.95)
    found["fpr_at_95tpr"] = drawn if drawn.low < drawn.high else metrics.wilson(figures["fpr_at_95tpr"], usual)
    for name, count in (("fpr", usual), ("tpr", anomalous), ("alarms", anomalous)):
        if name in figures:
            found[name] = metrics.wilson(figures[name], count)
    return found


def _auroc_interval(area: float, scores: Tensor, truth: Tensor, repeats: int) -> Bounds:
    if area in (0.0, 1.0):  # the bootstrap of a perfect ranking has no width
        return metrics.auroc_interval(area, int(truth.sum()), int((~truth).sum()))
    return metrics.bootstrap(metrics.auroc, scores, truth, repeats=repeats)


def _layer(values: Tensor, truth: Tensor) -> LayerResult:
    return LayerResult(
        auroc=metrics.auroc(values, truth),
        ap=metrics.average_precision(values, truth),
        tpr_at_1pct_fpr=metrics.tpr_at_fpr(values, truth, 0.01),
    )
