import base64
import io

import pytest
import torch
from PIL import Image

from theriac.detect.inverted import decode
from theriac.detect.models import DEFAULT, METHODS
from theriac.detect.models.inversion_verdict import shortfalls
from theriac.detect.models.trigger_inversion import TriggerInversion
from theriac.errors import UserError
from theriac.finding import Finding
from theriac.run.budget import Budget
from theriac.training.record import predict


def scan(system, seed: int = 0, **settings) -> Finding:
    generator = torch.Generator().manual_seed(seed)
    return TriggerInversion(**settings).scan(system.model, system.clean, budget=Budget(), generator=generator)


@pytest.fixture(scope="module")
def poisoned_finding(poisoned_system) -> Finding:
    return scan(poisoned_system)


@pytest.fixture(scope="module")
def clean_finding(clean_system) -> Finding:
    return scan(clean_system)


def test_poisoned_model_is_called_poisoned_with_its_target(poisoned_finding, poisoned_system) -> None:
    assert poisoned_finding.verdict == "poisoned"
    assert poisoned_finding.probability > 0.8
    (suspect,) = [e for e in poisoned_finding.evidence if e.kind == "suspected_classes"]
    assert suspect.target == poisoned_system.target
    assert suspect.target_name == poisoned_system.model.classes[suspect.target]


def test_clean_model_is_not_called_poisoned(clean_finding) -> None:
    assert clean_finding.verdict != "poisoned"
    assert clean_finding.probability < 0.3
    assert not [e for e in clean_finding.evidence if e.kind == "suspected_classes" and clean_finding.verdict == "clean"]


def test_trigger_in_the_evidence_works_on_unseen_examples(poisoned_finding, poisoned_system) -> None:
    evidence = next(e for e in poisoned_finding.evidence if e.kind == "trigger")
    assert evidence.asr >= 0.85
    assert evidence.base_rate <= 0.1
    trigger = decode(evidence.parameters)
    sources = poisoned_system.test[poisoned_system.test.labels != poisoned_system.target]
    changed = (trigger(sources.pixels()) * 255).round().to(torch.uint8)
    answers = predict(poisoned_system.model, type(sources)(changed, sources.labels, sources.classes, "t", "0" * 64))
    assert float((answers == poisoned_system.target).float().mean()) >= 0.8
    for picture in evidence.pictures:
        assert min(Image.open(io.BytesIO(base64.b64decode(picture.png))).size) >= 64


def test_model_is_left_as_it_was(poisoned_system) -> None:
    model = poisoned_system.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    scan(poisoned_system, spaces=("colour",), steps=2, pair_steps=1)
    assert model.training
    model.eval()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_one_seed_gives_one_finding(poisoned_system) -> None:
    settings = {"spaces": ("perturbation", "warp"), "steps": 12, "pair_steps": 6}
    assert scan(poisoned_system, **settings).repeatable() == scan(poisoned_system, **settings).repeatable()


def test_budget_is_honoured_and_said(clean_system) -> None:
    budget = Budget(0.5)
    finding = TriggerInversion().scan(
        clean_system.model, clean_system.clean, budget=budget, generator=torch.Generator().manual_seed(0)
    )
    assert finding.verdict != "clean"
    assert any("budget" in line for line in finding.not_checked)
    assert budget.spent() < 10


def test_restarts_keep_the_smallest(poisoned_system) -> None:
    finding = scan(poisoned_system, spaces=("mask",), steps=12, restarts=2, pairs=0)
    assert finding.method.settings["restarts"] == 2
    table = next(e for e in finding.evidence if e.kind == "table")
    assert len(table.rows) == len(poisoned_system.model.classes)


def test_sizes_above_the_ceiling_say_nothing() -> None:
    sizes, targets = torch.tensor([90.0, 500.0, 900.0]), torch.arange(3)
    assert float(shortfalls(sizes, targets, 80.0).max()) == 0
    assert float(shortfalls(sizes, targets, 1000.0).max()) > 1


def test_two_targets_do_not_hide_each_other() -> None:
    sizes = torch.tensor([2.0, 2.1, 60, 65, 70, 61, 62, 63, 59, 66])
    below = shortfalls(sizes, torch.arange(10), 80.0)
    assert below.topk(2).indices.sort().values.tolist() == [0, 1]
    assert float(below.max()) > 1.5


def test_registered() -> None:
    assert METHODS[DEFAULT] is TriggerInversion


@pytest.mark.parametrize("bad", [{"spaces": ("cube",)}, {"spaces": ()}, {"steps": 0}, {"asr": 1.0}, {"pairs": -1}])
def test_bad_settings_are_refused(bad) -> None:
    with pytest.raises(UserError, match="trigger-inversion"):
        TriggerInversion(**bad)
