import pytest
import torch

from theriac.detect.inversion import Effort, search
from theriac.detect.inversion_pairs import promising_pairs
from theriac.detect.inversion_spaces import SPACES, Mask, Perturbation
from theriac.detect.inversion_victim import PIXELS, Victim, lead
from theriac.detect.inverted import change
from theriac.errors import UserError
from theriac.run.budget import Budget


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def victim(poisoned_system):
    return Victim(poisoned_system.model, poisoned_system.clean, seeded())


def test_rungs_spend_steps_on_ever_fewer_tasks() -> None:
    rungs = Effort(steps=120).rungs(64)
    assert [count for count, _ in rungs] == [64, 32, 16, 8, 4, 3]
    assert sum(steps for _, steps in rungs) == 120
    assert Effort(steps=120).rungs(2) == [(2, 120)]


def test_examples_are_cut_into_disjoint_parts(victim, poisoned_system) -> None:
    parts = [victim.search, victim.tune, victim.held_out]
    assert sum(len(part) for part in parts) == len(poisoned_system.clean)
    rows = torch.cat([part.images.flatten(1) for part in parts]).unique(dim=0)
    assert len(rows) == len(poisoned_system.clean)


@pytest.mark.parametrize("space", SPACES.values(), ids=str)
def test_gradient_in_parts_equals_the_gradient_at_once(victim, space, monkeypatch) -> None:
    victim.half = False
    images, targets = victim.search.pixels(slice(10)), torch.full((10,), 2)
    weights = torch.rand(10, generator=seeded())
    changed = change(space.name, space.tensors(space.start(1, 32, 32, seeded())), images[None])[0]
    whole = victim.lead_and_gradient(changed, targets, weights)
    leaf = changed.requires_grad_()
    loss = ((1 - lead(victim.logits(leaf), targets) / victim.margin).relu() * weights).sum()
    (expected,) = torch.autograd.grad(loss, leaf)
    monkeypatch.setitem(PIXELS, "cpu", 3 * 32 * 32)
    assert victim.batch == 3
    parts = victim.lead_and_gradient(changed, targets, weights)
    for got in (whole, parts):
        assert torch.allclose(got[1], expected, atol=1e-4 * float(expected.abs().max()))


def test_strength_scales_the_size(victim) -> None:
    images = victim.search.pixels(slice(4))[None]
    for space in SPACES.values():
        parameters = space.start(2, 32, 32, seeded())
        one = space.size(space.tensors(parameters), images)
        half = space.size(space.tensors(parameters, torch.full((2,), 0.5)), images)
        assert torch.allclose(half, one / 2, rtol=1e-3)


def test_masks_started_from_perturbations_do_about_the_same() -> None:
    delta = torch.zeros(1, 3, 8, 8)
    delta[0, :, 2, 3] = 0.4
    images = torch.full((1, 1, 3, 8, 8), 0.5)
    changed = change("mask", Mask().tensors(Mask.start_from(delta)), images)[0, 0]
    assert float((changed - 0.5)[:, 2, 3].min()) > 0.25
    assert float((changed - 0.5).abs().sum()) < 0.5 + 3 * float((changed - 0.5)[:, 2, 3].max())


def test_search_finds_the_backdoor_and_not_by_chance(victim, poisoned_system) -> None:
    found = search(victim, Perturbation(), Effort(steps=60, images=8), targets=torch.arange(5), generator=seeded())
    assert int(found.sizes.argmin()) == poisoned_system.target
    assert float(found.asrs[poisoned_system.target]) >= 0.9
    assert found.complete
    assert int(found.steps[poisoned_system.target]) == int(found.steps.max())
    again = search(victim, Perturbation(), Effort(steps=60, images=8), targets=torch.arange(5), generator=seeded())
    assert torch.equal(found.sizes, again.sizes)


def test_budget_ends_the_search(victim) -> None:
    budget = Budget(1e-9)
    found = search(victim, Mask(), Effort(), targets=torch.arange(5), generator=seeded(), budget=budget)
    assert not found.complete
    assert int(found.steps.max()) == 0


def test_pairs(victim) -> None:
    sources, targets, total = promising_pairs(victim, 100)
    assert total == len(sources) == 20
    assert bool((sources != targets).all())
    few, their_targets, total = promising_pairs(victim, 6)
    assert (len(few), len(their_targets), total) == (6, 6, 20)
    found = search(
        victim,
        SPACES["perturbation"],
        Effort(steps=12, images=4),
        targets=their_targets,
        sources=few,
        generator=seeded(),
    )
    assert torch.equal(found.sources, few)


def test_bad_examples_are_refused(poisoned_system) -> None:
    with pytest.raises(UserError, match="too few"):
        Victim(poisoned_system.model, poisoned_system.clean[:5], seeded())
    same = poisoned_system.clean[poisoned_system.clean.labels == 1]
    with pytest.raises(UserError, match="too few"):
        Victim(poisoned_system.model, same, seeded())
