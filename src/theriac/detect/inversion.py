"""Trigger inversion for many target classes at once.

Wang et al., "Neural Cleanse", IEEE S&P 2019, searches one class after another with a fixed number of steps. Here all
classes are one batch on shared images; successive halving (Jamieson & Talwalkar, "Non-stochastic Best Arm
Identification", AISTATS 2016) spends later steps, with more images each, on the classes with the smallest triggers, a
class that no longer improves is stopped, and the cost of size follows the ASR at each step, not once in many epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theriac.detect.inversion_spaces import Space
from theriac.detect.inversion_victim import Victim
from theriac.detect.inverted import InvertedTrigger, change
from theriac.run.budget import Budget
from theriac.run.progress import Progress, silent

MOMENTUM = (0.5, 0.9)
COST_RATE = 1.2
ASR_MEMORY = 0.8
CHECK_EVERY = 10
TOO_LARGE = 3.0
"""A task is dropped when its trigger is this many times larger than the smallest one."""
SHORT_OF_GOAL = 4.0
"""How much larger a trigger counts for each missing unit of ASR."""
STRONGEST, HALVINGS = 2.0, 5
"""Triggers are tuned between no strength and twice the one found, by halving the interval."""
TUNING_EXAMPLES = 64


@dataclass(frozen=True)
class Effort:
    """How much work a search is.

    Args:
        steps: Steps of the classes that survive to the end.
        images: Clean examples of each step, shared by all classes, while all of them run.
        most_images: Clean examples of each step when few classes are left.
        asr: The ASR that a trigger must reach.
        survivors: How many classes are never dropped.
        patience: A class stops after this many steps without a trigger 2 % smaller.
    """

    steps: int = 120
    images: int = 6
    most_images: int = 16
    asr: float = 0.95
    survivors: int = 3
    patience: int = 40

    def rungs(self, tasks: int) -> list[tuple[int, int]]:
        """Returns (number of tasks, steps) of each rung of successive halving.

        >>> Effort(steps=120).rungs(10)
        [(10, 40), (5, 40), (3, 40)]
        """
        counts = [tasks]
        while counts[-1] > self.survivors:
            counts.append(max(self.survivors, counts[-1] // 2))
        return [(count, -(-self.steps // len(counts))) for count in counts]


@dataclass
class Triggers:
    """The smallest triggers found, one per task.

    Attributes:
        space: Where they were searched.
        targets: Target class of each task [t].
        sources: Source class of each task [t]; -1 for all classes.
        tensors: What describes each change, at the strength that just reaches the ASR.
        sizes: Size of each [t]; for one that falls short of the ASR, a larger number.
        asrs: ASR on the examples that the strength was tuned with [t].
        steps: Steps spent on each task [t].
        complete: False if the budget ran out.
    """

    space: Space
    targets: Tensor
    sources: Tensor
    tensors: dict[str, Tensor]
    sizes: Tensor
    asrs: Tensor
    steps: Tensor
    complete: bool

    def __getitem__(self, task: int) -> InvertedTrigger:
        tensors = {name: tensor[task].cpu() for name, tensor in self.tensors.items()}
        return InvertedTrigger(self.space.name, int(self.targets[task]), tensors)

    def at(self, tasks: Tensor) -> "Triggers":
        """Returns the triggers of ``tasks`` only."""
        tensors = {name: tensor[tasks.to(tensor.device)] for name, tensor in self.tensors.items()}
        return replace(
            self,
            targets=self.targets[tasks],
            sources=self.sources[tasks],
            tensors=tensors,
            sizes=self.sizes[tasks],
            asrs=self.asrs[tasks],
            steps=self.steps[tasks],
        )


class Search:
    """The state of a search: everything that an optimisation step changes.

    ``pool`` are the tasks that have not been dropped, ``live`` those of them that have not stopped early.
    """

    def __init__(
        self,
        victim: Victim,
        space: Space,
        effort: Effort,
        targets: Tensor,
        sources: Tensor,
        parameters: Sequence[Tensor],
        generator: torch.Generator,
    ) -> None:
        self.victim, self.space, self.effort, self.generator = victim, space, effort, generator
        device, t = victim.device, len(targets)
        self.targets, self.sources = targets.to(device), sources.to(device)
        self.parameters = [p.to(device) for p in parameters]
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]
        h, w = victim.search.images.shape[-2:]
        self.cost = torch.full((t,), 1 / space.ceiling(h, w), device=device)
        self.asr = torch.zeros(t, device=device)
        self.sizes = torch.zeros(t, device=device)
        self.best = torch.full((t,), torch.inf, device=device)
        self.stale = torch.zeros(t, device=device)
        self.steps = torch.zeros(t, dtype=torch.int64, device=device)
        self.pool = self.live = torch.arange(t, device=device)
        self.all_sources = bool((sources < 0).all())
        self.done = 0
        self.images = effort.images
        labels = victim.search.labels
        self.rows = [torch.nonzero(labels == c)[:, 0] for c in range(victim.classes)]

    def draw(self) -> tuple[Tensor, Tensor]:
        """Returns a batch of images [t or 1, n, 3, h, w] and the weight of each in each task [t, n]."""
        n, data, live = self.images, self.victim.search, self.live
        if self.all_sources:
            rows = torch.randint(len(data), (n,), generator=self.generator)
            images = data.pixels(rows, self.victim.device)[None]
            weights = (data.labels[rows].to(live.device)[None] != self.targets[live, None]).float()
        else:
            picks = torch.rand(len(live), n, generator=self.generator)
            own = [self.rows[s] for s in self.sources[live].tolist()]
            rows = torch.stack([r[(p * len(r)).long()] for r, p in zip(own, picks, strict=True)])
            pixels = data.pixels(rows.flatten(), self.victim.device)
            images = pixels.view(*rows.shape, *pixels.shape[1:])
            weights = torch.ones(rows.shape, device=live.device)
        return images, weights / weights.sum(1, keepdim=True).clamp(min=1)

    def step(self, lr: float) -> None:
        """One Adam step of all live tasks."""
        live, victim = self.live, self.victim
        images, weights = self.draw()
        leaves = [p[live].requires_grad_() for p in self.parameters]
        tensors = self.space.tensors(leaves)
        changed = change(self.space.name, tensors, images)
        targets = self.targets[live, None].expand(weights.shape)
        ahead, gradient = victim.lead_and_gradient(changed.flatten(0, 1), targets.flatten(), weights.flatten())
        sizes = self.space.size(tensors, images)
        priced = (self.cost[live] * sizes).sum()
        gradients = torch.autograd.grad([changed, priced], leaves, [gradient.view_as(changed), torch.ones_like(priced)])
        self.steps[live] += 1
        self._move(leaves, gradients, lr)
        self._account(((ahead > 0).view_as(weights) * weights).sum(1), sizes.detach())

    def _move(self, leaves: Sequence[Tensor], gradients: Sequence[Tensor], lr: float) -> None:
        one, two = MOMENTUM
        count = self.steps[self.live].float()
        for p, (m, v), leaf, g in zip(self.parameters, self.moments, leaves, gradients, strict=True):
            first = m[self.live].lerp(g, 1 - one)
            second = v[self.live].lerp(g.square(), 1 - two)
            m[self.live], v[self.live] = first, second
            shape = (-1, *[1] * (g.ndim - 1))
            scale = (second / (1 - two**count).view(shape)).sqrt() + 1e-8
            p[self.live] = leaf.detach() - lr * first / (1 - one**count).view(shape) / scale

    def _account(self, hits: Tensor, sizes: Tensor) -> None:
        """Follows ASR and size, and moves the cost of size so that the ASR stays just above its goal."""
        live = self.live
        first = self.steps[live] == 1
        asr = torch.where(first, hits, ASR_MEMORY * self.asr[live] + (1 - ASR_MEMORY) * hits)
        reached = asr >= self.effort.asr
        better = reached & (sizes < 0.98 * self.best[live])
        self.best[live] = torch.where(better, sizes, self.best[live])
        self.stale[live] = torch.where(better | ~reached, 0.0, self.stale[live] + 1)
        self.cost[live] *= torch.where(reached, COST_RATE, 1 / COST_RATE)
        self.asr[live], self.sizes[live] = asr, sizes

    def rank(self) -> Tensor:
        """Returns the size of each task's present trigger, enlarged where its ASR falls short."""
        return self.sizes * (1 + SHORT_OF_GOAL * (self.effort.asr - self.asr).clamp(min=0))

    def keep(self, count: int) -> None:
        """Drops all tasks but the ``count`` with the smallest triggers, and the far too large ones among them.

        Two are always kept, to compare; those that had stopped go on; and each gets more images in exchange.
        """
        ranks, order = self.rank()[self.pool].sort(stable=True)
        if self.done:
            count = min(count, max(2, int((ranks <= TOO_LARGE * ranks[0]).sum())))
        self.pool = self.live = self.pool[order[:count].sort().values]
        share = len(self.targets) / max(1, len(self.pool))
        self.images = round(min(max(self.effort.most_images, self.effort.images), self.effort.images * share))

    def run(self, steps: int, total: int, budget: Budget) -> bool:
        """Takes ``steps`` of ``total`` steps; returns whether the budget lasted."""
        for _ in range(steps):
            if budget.expired:
                return False
            if not len(self.live):
                break
            self.step(self.space.lr * (1 - 0.8 * self.done / total))
            self.done += 1
            if self.done % CHECK_EVERY == 0:
                self.live = self.live[self.stale[self.live] < self.effort.patience]
        return True


def search(
    victim: Victim,
    space: Space,
    effort: Effort,
    *,
    targets: Tensor,
    generator: torch.Generator,
    sources: Tensor | None = None,
    start: Sequence[Tensor] | None = None,
    budget: Budget | None = None,
    progress: Progress = silent,
) -> Triggers:
    """Searches the smallest trigger of each task.

    Args:
        victim: The model and the clean examples.
        space: The family of changes.
        effort: How much work to spend.
        targets: Target class of each task [t].
        generator: CPU generator of first parameters and batches.
        sources: Source class of each task [t]; -1, or None for all, for triggers that work on every class.
        start: First parameters; random ones without.
        budget: Wall-clock limit.
        progress: Told after each rung.
    """
    budget = budget or Budget()
    sources = torch.full_like(targets, -1) if sources is None else sources
    h, w = victim.search.images.shape[-2:]
    parameters = space.start(len(targets), h, w, generator) if start is None else start
    state = Search(victim, space, effort, targets, sources, parameters, generator)
    rungs = effort.rungs(len(targets))
    total, complete = sum(steps for _, steps in rungs), True
    for number, (count, steps) in enumerate(rungs):
        state.keep(count)
        complete = complete and state.run(steps, total, budget)
        progress((number + 1) / (len(rungs) + 1), f"{space.name}: {count} of {len(targets)}")
    return _tuned(state, complete)


@torch.no_grad()
def _tuned(state: Search, complete: bool) -> Triggers:
    """Scales each trigger to the least strength that reaches the ASR on examples that the search did not see."""
    victim, space, goal = state.victim, state.space, state.effort.asr
    images, used = _tuning_examples(state)

    def one(task: int, strength: Tensor) -> dict[str, Tensor]:
        return space.tensors([p[task : task + 1] for p in state.parameters], strength[task : task + 1])

    def asr(strength: Tensor) -> Tensor:
        rates = []
        for task, rows in enumerate(used):
            changed = change(space.name, one(task, strength), images[:, rows])[0]
            ahead = victim.lead(changed, state.targets[task].expand(len(changed)))
            rates.append((ahead > 0).float().sum() / max(1, len(ahead)))
        return torch.stack(rates)

    low, high = torch.zeros_like(state.asr), torch.full_like(state.asr, STRONGEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = asr(middle) >= goal
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    rates = asr(high)
    sizes = torch.stack([space.size(one(task, high), images)[0] for task in range(len(used))])
    sizes = sizes * (1 + SHORT_OF_GOAL * (goal - rates).clamp(min=0))
    tensors = space.tensors(state.parameters, high)
    targets, sources, steps = state.targets.cpu(), state.sources.cpu(), state.steps.cpu()
    return Triggers(space, targets, sources, tensors, sizes.cpu(), rates.cpu(), steps, complete)


def _tuning_examples(state: Search) -> tuple[Tensor, list[Tensor]]:
    """Returns images [1, n, 3, h, w] and, for each task, which of them its trigger must work on."""
    victim, sources, count = state.victim, state.sources, len(state.victim.tune)
    if state.all_sources:
        count = min(TUNING_EXAMPLES, max(24, 24 * TUNING_EXAMPLES // len(sources)))
    labels = victim.tune.labels[:count].to(victim.device)
    wanted = torch.where(sources[:, None] < 0, labels != state.targets[:, None], labels == sources[:, None])
    return victim.tune.pixels(slice(count), victim.device)[None], list(wanted)
