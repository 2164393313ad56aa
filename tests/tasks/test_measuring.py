"""Measuring: figures that scikit-learn computes too, on a model and scores that are known."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from sklearn import metrics as sk

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.mahalanobis import Mahalanobis
from theriac.errors import UserError
from theriac.tasks.measuring import measure, measure_fitted
from theriac.tasks.task import Mixture, Task
from theriac.tasks.vectors import VectorClassifier, Vectors
from theriac.tasks.watching import Watched

FIRST_LAYER = "net.layer1"


def rows(count: int, seed: int, shift: float = 0.0) -> Vectors:
    values = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    values[:, 0] += shift
    return Vectors(values, (values[:, 1] > 0).long(), "rows", "0" * 64)


def mixed(usual: int, anomalous: int, seed: int) -> Mixture:
    values = torch.cat([rows(usual, seed).values, rows(anomalous, seed + 1, shift=1.5).values])
    order = torch.randperm(usual + anomalous, generator=torch.Generator().manual_seed(seed))
    inputs = Vectors(values[order], torch.zeros(len(order)).long(), "rows", "0" * 64)
    return Mixture(inputs, order >= usual, agree=values[order, 2] > 0)


@pytest.fixture(scope="module")
def task() -> Task:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VectorClassifier(3, ("no", "yes")).eval()
    with torch.no_grad():  # so that it gives half of the inputs to either class
        logits = model(rows(200, 0).values)
        model.net.fc.bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    return Task("rows", 7, model, rows(200, 0), mixed(180, 20, 1), mixed(300, 100, 3), target=1)


@dataclass
class First(LayerDetector):
    """Scores inputs by their first number: what comes of it can be computed without us."""

    name: ClassVar[str] = "first"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "none"
    positive: ClassVar[bool] = False

    def _learn(self, trusted, untrusted, anomalous) -> None:
        self.given = (untrusted, anomalous)

    def _score(self, seen):
        return {"output": seen.inputs[:, 0].double()}


@dataclass
class Cheat(First):
    """Is told which untrusted inputs are anomalous."""

    name: ClassVar[str] = "cheat"
    needs: ClassVar[frozenset[str]] = frozenset({"trusted", "untrusted", "anomalies"})


def test_figures_are_those_of_scikit_learn(task: Task) -> None:
    measured = measure(task, First(), repeats=50)
    result, truth = measured.result, task.test.anomalous.numpy()
    values = task.test.inputs.values
    scores = values[:, 0].double().numpy()
    assert result.auroc == pytest.approx(sk.roc_auc_score(truth, scores))
    assert result.ap == pytest.approx(sk.average_precision_score(truth, scores))
    false, true, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    assert result.tpr_at_1pct_fpr == pytest.approx(true[false <= 0.01].max())
    assert result.tpr_at_01pct_fpr == pytest.approx(true[false <= 0.001].max())
    assert result.fpr_at_95tpr == pytest.approx(false[true >= 0.95].min())
    with torch.no_grad():
        given = (task.model(values).argmax(1) == 1).numpy()
    assert 0 < given.sum() < len(given)
    assert result.auroc_within_target == pytest.approx(sk.roc_auc_score(truth[given], scores[given]))
    agree = task.test.agree.numpy()
    assert result.auroc_agree == pytest.approx(sk.roc_auc_score(truth[agree], scores[agree]))
    assert result.auroc_disagree == pytest.approx(sk.roc_auc_score(truth[~agree], scores[~agree]))
    above = measured.scores.numpy() > measured.threshold
    assert result.fpr == pytest.approx(above[~truth].mean())
    assert result.tpr == pytest.approx(above[truth].mean())
    assert result.alarms is None
    assert result.layers["output"].auroc == pytest.approx(result.auroc)
    low, high = result.intervals["auroc"]
    assert low < result.auroc < high
    assert (result.trusted, result.untrusted, result.usual, result.anomalous) == (200, 0, 300, 100)
    assert min(result.fit_seconds, result.score_seconds, result.forward_seconds) > 0


def test_shared_observations_change_nothing_but_what_the_seconds_are_of(task: Task) -> None:
    detectors = [First(), Mahalanobis(), Mahalanobis(layers=(FIRST_LAYER,), held_out=0.4)]
    watched = Watched(task, detectors)
    for detector in detectors:
        shared = measure(task, detector, watched, repeats=20).result
        alone = measure(task, type(detector)(layers=detector.layers, held_out=detector.held_out), repeats=20)
        timeless = {"exclude": {"fit_seconds", "score_seconds", "forward_seconds", "observe_seconds", "layers"}}
        assert shared.model_dump(**timeless) == alone.result.model_dump(**timeless)
        assert shared.observe_seconds > 0
        assert alone.result.observe_seconds is None


def test_only_those_that_say_so_are_told_the_truth(task: Task) -> None:
    online, cheat = First(), Cheat()
    measure(task, online, repeats=5)
    assert online.given == (None, None)
    measured = measure(task, cheat, Watched(task, [cheat]), repeats=5)
    untrusted, anomalous = cheat.given
    assert len(untrusted) == 200
    assert torch.equal(anomalous, task.untrusted.anomalous)
    assert measured.result.untrusted == 200


def test_an_ablation_counts_alarms_and_not_hits(task: Task) -> None:
    measured = measure(replace(task, alarm=False), First(), repeats=5)
    truth = task.test.anomalous
    assert measured.result.ablation
    assert measured.result.tpr is None
    assert measured.result.alarms == pytest.approx(float((measured.scores[truth] > measured.threshold).double().mean()))


def test_a_perfect_ranking_still_has_an_interval(task: Task) -> None:
    test = Mixture(task.test.inputs, task.test.inputs.values[:, 0] > 1)
    result = measure(replace(task, test=test), First(), repeats=20).result
    assert result.auroc == result.tpr_at_1pct_fpr == 1.0
    assert 0.9 < result.intervals["auroc"][0] < 1.0
    assert 0.9 < result.intervals["tpr_at_1pct_fpr"][0] < 1.0


def test_too_few_inputs_of_a_kind_give_no_figure(task: Task) -> None:
    agree = torch.ones(len(task.test.anomalous), dtype=torch.bool)
    agree[task.test.anomalous.nonzero()[:3, 0]] = False
    result = measure(replace(task, test=replace(task.test, agree=agree), target=None), First(), repeats=5).result
    assert result.auroc_disagree is None
    assert result.auroc_within_target is None
    assert result.auroc_agree is not None


def test_a_fitted_detector_is_measured_without_fitting_it_again(task: Task) -> None:
    detector = First()
    first = measure(task, detector, repeats=5)
    again = measure_fitted(task, detector, repeats=5)
    assert torch.equal(first.scores, again.scores)
    assert again.result.fit_seconds is None
    with pytest.raises(UserError, match="not fitted"):
        measure_fitted(task, First())
