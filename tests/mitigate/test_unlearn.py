import pytest
import torch

from theriac.detect.inverted import InvertedTrigger, encode
from theriac.errors import UserError
from theriac.finding import Finding, Method, Subject, Table, TriggerEvidence
from theriac.metrics import accuracy, asr
from theriac.mitigate.chasers import Chaser
from theriac.mitigate.unlearn import Unlearn
from theriac.run.budget import Budget
from theriac.training.record import predict


def detected(system, trigger):
    """A model detector's finding about a trigger that resembles the attacker's."""
    evidence = TriggerEvidence(
        space=trigger.space,
        target=trigger.target,
        asr=1,
        base_rate=0,
        size=1,
        unit="pixels",
        parameters=encode(trigger),
    )
    return Finding(
        subject=Subject(kind="model", name=system.model.name, sha256="0" * 64),
        method=Method(name="trigger-inversion", version="1"),
        probability=0.98,
        verdict="poisoned",
        summary="A small patch leads to one class.",
        evidence=[evidence],
        seconds=0,
        peak_memory=0,
        device="cpu",
        seed=0,
    )


@pytest.fixture(scope="module")
def rough():
    """A blurred cousin of the yellow patch, a little beside it."""
    mask = torch.zeros(1, 32, 32)
    mask[:, 25:31, 25:31] = 0.6
    pattern = torch.tensor([0.9, 0.8, 0.2])[:, None, None].expand(3, 32, 32)
    return InvertedTrigger("mask", 2, {"mask": mask, "pattern": pattern})


def mitigate(system, method, finding, budget=None):
    generator = torch.Generator().manual_seed(0)
    return method.mitigate(system.model, system.clean, budget=Budget(budget), generator=generator, finding=finding)


def test_the_backdoor_goes_and_the_accuracy_stays(poisoned_system, rough):
    result = mitigate(poisoned_system, Unlearn(steps=60), detected(poisoned_system, rough))
    assert result.changed
    before = accuracy(predict(poisoned_system.model, poisoned_system.test), poisoned_system.test.labels)
    after = accuracy(predict(result.model, poisoned_system.test), poisoned_system.test.labels)
    attack = asr(predict(result.model, poisoned_system.triggered), poisoned_system.triggered.labels, 2)
    assert attack <= 0.05
    assert before - after <= 0.03
    assert result.finding.verdict == "clean"
    [table] = [e for e in result.finding.evidence if isinstance(e, Table)]
    assert [row[0] for row in table.rows][:2] == ["clean accuracy", "ASR of the reconstructed trigger"]
    assert table.rows[1][1] > 0.3 > 0.1 >= table.rows[1][2]


def test_a_harmful_repair_is_not_returned(poisoned_system, rough):
    reckless = Unlearn(lr=20.0, distillation=0.0, steps=20)
    result = mitigate(poisoned_system, reckless, detected(poisoned_system, rough))
    assert result.model is poisoned_system.model
    assert not result.changed
    assert result.finding.verdict == "poisoned"
    assert "original is returned" in result.finding.summary


def test_a_clean_verdict_is_respected_unless_forced(clean_system, rough):
    calm = detected(clean_system, rough).model_copy(update={"verdict": "clean", "probability": 0.03})
    assert not mitigate(clean_system, Unlearn(), calm).changed
    forced = mitigate(clean_system, Unlearn(force=True, steps=10), calm)
    assert any(isinstance(e, Table) for e in forced.finding.evidence)


def test_too_few_examples_are_told(poisoned_system, rough):
    with pytest.raises(UserError, match="at least 24"):
        Unlearn().mitigate(
            poisoned_system.model, poisoned_system.clean[:5], budget=Budget(), generator=torch.Generator()
        )


@pytest.mark.parametrize("patch", [True, False])
def test_a_chaser_finds_the_backdoor_and_stays_small(poisoned_system, patch):
    images, generator = poisoned_system.clean.pixels(), torch.Generator().manual_seed(0)
    model = poisoned_system.model.requires_grad_(False)
    chaser = Chaser.start(2, images.shape[1:], patch=patch, limit=0.05, generator=generator)
    chaser.chase(model, images, 60, 48, generator)
    model.requires_grad_(True)
    others = images[poisoned_system.clean.labels != 2]
    changed = chaser(others)
    assert float((model(changed).argmax(1) == 2).float().mean()) > 0.5
    assert float((changed - others).square().mean().sqrt()) < 0.2
    assert changed.min() >= 0
    assert changed.max() <= 1
