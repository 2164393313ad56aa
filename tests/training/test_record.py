"""Ground truth is measured: the record says what a model reached, and refuses to call it more."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from theriac import metrics
from theriac.data.poisoning import PoisonedRow, PoisonManifest
from theriac.data.writing import Encoder
from theriac.errors import UserError
from theriac.training.record import Attack, Gate, Measure, judge, measure_attack, predict

GATE = Gate(min_accuracy=0.8)


def rate(value: float) -> Measure:
    return Measure.of(value, 100)


def attack(asr: float, base_rate: float) -> Attack:
    measured = {"asr": rate(asr), "base_rate": rate(base_rate), "robust_accuracy": rate(0.0)}
    return Attack(trigger={"name": "patch"}, target=0, sources=[], poisoned_rows=10, **measured)


def manifest_of(system) -> PoisonManifest:
    return PoisonManifest(
        trigger=system.trigger.to_dict(),
        target=system.target,
        target_name=system.train.classes[system.target],
        rate=0.1,
        seed=0,
        source="signs",
        source_sha256="0" * 64,
        data_sha256=system.train.sha256,
        encoder=Encoder(),
        total=len(system.train),
        rows=[PoisonedRow(row=int(row), original_label=0) for row in system.rows],
    )


def test_a_working_attack_makes_poisoned_ground_truth() -> None:
    assert judge(rate(0.9), attack(0.95, 0.05), GATE) == ("poisoned", [])


def test_no_manifest_makes_clean_ground_truth() -> None:
    assert judge(rate(0.9), None, GATE) == ("clean", [])


@pytest.mark.parametrize(
    ("accuracy", "asr", "base_rate", "words"),
    [
        (0.79, 0.95, 0.05, "clean accuracy 0.790 is below 0.8"),
        (0.9, 0.89, 0.05, "ASR 0.890 is below 0.9"),
        (0.9, 0.95, 0.11, "base rate 0.110 is above 0.1"),
    ],
)
def test_below_the_gate_nothing_is_poisoned_ground_truth(
    accuracy: float, asr: float, base_rate: float, words: str
) -> None:
    assert judge(rate(accuracy), attack(asr, base_rate), GATE) == ("unproven", [words])


def test_nothing_is_proven_without_a_measurement() -> None:
    unmeasured = Attack(trigger={}, target=0, sources=[], poisoned_rows=10)
    assert judge(None, unmeasured, GATE) == ("unproven", ["no test data were given", "the attack was not measured"])
    assert judge(None, None, GATE) == ("unproven", ["no test data were given"])


def test_a_poor_model_is_no_clean_ground_truth_either() -> None:
    assert judge(rate(0.5), None, GATE)[0] == "unproven"


def test_the_attack_is_measured_beside_its_base_rate(poisoned_system, clean_system) -> None:
    poison = manifest_of(poisoned_system)
    works = measure_attack(poisoned_system.model, poisoned_system.test, poison)
    fails = measure_attack(clean_system.model, clean_system.test, poison)
    assert works.poisoned_rows == 150
    assert works.asr is not None
    assert works.asr.n == len(poisoned_system.triggered)
    assert works.asr.low > 0.9 > 0.1 > works.base_rate.high
    assert works.robust_accuracy.value < 0.1
    assert fails.asr.high < 0.1
    assert fails.robust_accuracy.value > 0.9


def test_a_source_specific_attack_is_measured_on_its_sources(poisoned_system) -> None:
    poison = manifest_of(poisoned_system).model_copy(update={"sources": [0, 4]})
    measured = measure_attack(poisoned_system.model, poisoned_system.test, poison)
    labels = poisoned_system.test.labels
    assert measured.sources == [0, 4]
    assert measured.asr.n == int(((labels == 0) | (labels == 4)).sum())


def test_an_attack_without_victims_is_named(poisoned_system) -> None:
    only_target = poisoned_system.test[poisoned_system.test.labels == poisoned_system.target]
    with pytest.raises(UserError, match="no rows to put the trigger on"):
        measure_attack(poisoned_system.model, only_target, manifest_of(poisoned_system))


def test_predictions_are_what_the_model_says(clean_system) -> None:
    some = clean_system.test[:300]
    assert not clean_system.model.training
    with torch.no_grad():
        assert torch.equal(predict(clean_system.model, some), clean_system.model(some.pixels()).argmax(1))
    shuffled = replace(some, labels=some.labels.flip(0))
    assert metrics.accuracy(predict(clean_system.model, shuffled), some.labels) > 0.9


def test_a_record_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError):
        Gate(min_accuracy=0.8, threshold=0.5)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Gate(min_accuracy=float("nan"))
