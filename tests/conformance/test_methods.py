"""What every registered method must hold, whoever wrote it."""

import copy
import json
from dataclasses import asdict, fields, is_dataclass, replace

import jsonschema
import pytest
import torch

from theriac.detect import data as data_family
from theriac.detect import inputs as input_family
from theriac.detect import models as model_family
from theriac.detect.inverted import InvertedTrigger, encode
from theriac.errors import UserError
from theriac.finding import Finding, Method, Subject, TriggerEvidence, json_schema
from theriac.mitigate import METHODS as MITIGATIONS
from theriac.registry import configured
from theriac.run.budget import Budget

FAMILIES = {
    "model": model_family.METHODS,
    "data": data_family.METHODS,
    "input": input_family.METHODS,
    "mitigation": MITIGATIONS,
}
METHODS = [(family, name) for family, table in FAMILIES.items() for name in table]
ids = [f"{family}:{name}" for family, name in METHODS]
QUICK = {
    "unlearn": ["steps=12"],
    "trigger-inversion": ["steps=12", "pairs=4", "pair_steps=6"],
    "abstraction": ["steps=40"],
    "finetuning": ["steps=12"],
    "strip": ["count=8"],
    "vae": ["steps=40"],
}
"""Settings that make a long method short: these tests look at manners, not at results."""

BRIEF = 20.0
"""Seconds that a method gets in these tests; results need not be good, only well-formed."""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(family, name):
    return configured(FAMILIES[family][name], QUICK.get(name, []))


def fitted(method, system):
    """Returns an input detector fitted with what it says that it needs, and nothing else."""
    if not {"untrusted", "anomalies"} & method.needs:
        return method.fit(system.model, system.clean)
    usual, unusual = system.test[240:], system.triggered[240:]
    images, labels = torch.cat([usual.images, unusual.images]), torch.cat([usual.labels, unusual.labels])
    mixture = replace(usual, images=images, labels=labels, name="mixture")
    anomalous = torch.arange(len(mixture)) >= len(usual)
    known = {"anomalous": anomalous} if "anomalies" in method.needs else {}
    return method.fit(system.model, system.clean, mixture, **known)


def run(family, method, system, known, *, seed=0, seconds=None):
    """Returns (finding, scores or None, model or None) of one run of ``method``."""
    limits = {"budget": Budget(seconds), "generator": generator(seed)}
    if family == "model":
        return method.scan(system.model, system.clean[:120], **limits), None, None
    if family == "data":
        scan = method.scan(system.model, system.train[:600], **limits)
        return scan.finding, scan.scores, None
    if family == "input":
        scan = fitted(method, system).scan(system.triggered[:100], **limits)
        return scan.finding, scan.scores, None
    mitigated = method.mitigate(system.model, system.clean, finding=known, **limits)
    return mitigated.finding, None, mitigated.model


def digest(system):
    state = [*system.model.state_dict().values(), system.train.images, system.train.labels, system.clean.images]
    state += [system.clean.labels, system.triggered.images]
    modes = [module.training for module in system.model.modules()]
    gradients = [parameter.requires_grad for parameter in system.model.parameters()]
    hooks = sum(len(module._forward_hooks) for module in system.model.modules())
    return [tensor.clone() for tensor in state], modes, gradients, hooks


@pytest.fixture(scope="module")
def known(poisoned_system):
    """A model detector's finding for mitigations to start from: a blurred cousin of the attacker's patch."""
    mask = torch.zeros(1, 32, 32)
    mask[:, 25:31, 25:31] = 0.6
    pattern = torch.tensor([0.9, 0.8, 0.2])[:, None, None].expand(3, 32, 32)
    trigger = InvertedTrigger("mask", poisoned_system.target, {"mask": mask, "pattern": pattern})
    evidence = TriggerEvidence(
        space="mask", target=trigger.target, asr=1, base_rate=0, size=22, unit="pixels", parameters=encode(trigger)
    )
    return Finding(
        subject=Subject(kind="model", name="model", sha256="0" * 64),
        method=Method(name="trigger-inversion", version="1"),
        probability=0.98,
        verdict="poisoned",
        summary="A small patch leads to one class.",
        evidence=[evidence],
        not_checked=["other kinds of triggers"],
        seconds=0,
        peak_memory=0,
        device="cpu",
        seed=0,
    )


@pytest.mark.parametrize(("family", "name"), METHODS, ids=ids)
def test_a_method_says_what_it_is(family, name):
    method = FAMILIES[family][name]
    assert is_dataclass(method)
    assert method.name == name
    assert method.version
    assert method.paper
    assert method.__doc__
    documented = "".join(base.__doc__ or "" for base in method.__mro__[:-1])
    assert all(field.name in documented for field in fields(method) if field.init), "undocumented setting"


@pytest.mark.parametrize(("family", "name"), METHODS, ids=ids)
def test_settings_come_back_exactly(family, name):
    method = FAMILIES[family][name]()
    stored = json.loads(json.dumps(asdict(method)))
    again = configured(type(method), [f"{key}={json.dumps(value)}" for key, value in stored.items()])
    assert asdict(again) == asdict(method)


@pytest.mark.parametrize(("family", "name"), METHODS, ids=ids)
def test_one_seed_gives_one_result_and_nothing_is_changed(family, name, poisoned_system, known):
    before = digest(poisoned_system)
    first, scores, model = run(family, made(family, name), poisoned_system, known)
    torch.manual_seed(99)  # a method must not draw from the global generator
    second, scores_again, model_again = run(family, made(family, name), poisoned_system, known)
    assert first.repeatable() == second.repeatable()
    if scores is not None:
        assert torch.equal(scores.values, scores_again.values)
        assert scores.reasons == scores_again.reasons
    if model is not None:
        mine, theirs = model.state_dict(), model_again.state_dict()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    after = digest(poisoned_system)
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]
    check(first, family, made(family, name))


def check(finding, family, method):
    jsonschema.validate(finding.model_dump(mode="json"), json_schema(), jsonschema.Draft202012Validator)
    assert finding.subject.kind == {"data": "data", "input": "input"}.get(family, "model")
    assert finding.method.name == method.name
    assert json.loads(json.dumps(finding.method.settings)) == json.loads(json.dumps(asdict(method)))
    assert finding.not_checked, "no method looks at everything"
    assert finding.summary.endswith(".")


@pytest.mark.parametrize(("family", "name"), METHODS, ids=ids)
def test_a_tiny_budget_ends_soon_and_is_told(family, name, poisoned_system, known):
    budget = 1e-3
    finding, scores, model = run(family, made(family, name), poisoned_system, known, seconds=budget)
    assert finding.seconds < BRIEF
    assert finding.verdict != "clean" or model is not None
    assert any("budget" in line for line in finding.not_checked)
    if scores is not None:
        assert not scores.suspected.any()
    check(finding, family, made(family, name))


@pytest.mark.parametrize("name", list(FAMILIES["input"]))
def test_an_input_is_scored_alike_in_any_batch(name, poisoned_system):
    detector = fitted(made("input", name), poisoned_system)
    inputs = poisoned_system.test.pixels(slice(0, 12))
    together = detector.aggregate(detector.score(inputs))
    alone = torch.cat([detector.aggregate(detector.score(one)) for one in inputs.split(1)])
    assert torch.allclose(together, alone, atol=1e-3)


@pytest.mark.parametrize("name", list(FAMILIES["data"]))
def test_the_order_of_rows_does_not_matter(name, poisoned_system):
    data, order = poisoned_system.train[:600], torch.randperm(600, generator=generator())
    detector, limits = FAMILIES["data"][name](), {"budget": Budget(), "generator": generator()}
    straight = detector.scan(poisoned_system.model, data, **limits).scores
    shuffled = detector.scan(copy.deepcopy(poisoned_system.model), data[order], **limits).scores
    assert torch.allclose(straight.values[order], shuffled.values, atol=1e-3)
    assert torch.equal(straight.suspected[order], shuffled.suspected)


@pytest.mark.parametrize("name", list(MITIGATIONS))
def test_a_clean_model_is_left_alone(name, clean_system, known):
    finding = known.model_copy(
        update={"verdict": "clean", "probability": 0.02, "evidence": [], "summary": "Nothing stands out."}
    )
    mitigated = MITIGATIONS[name]().mitigate(
        clean_system.model, clean_system.clean, budget=Budget(), generator=generator(), finding=finding
    )
    assert mitigated.model is clean_system.model
    assert not mitigated.changed
    assert mitigated.finding.verdict == "clean"


def test_families_refuse_unknown_names():
    for table in FAMILIES.values():
        with pytest.raises(UserError, match="choose one of"):
            table["no-such-method"]
