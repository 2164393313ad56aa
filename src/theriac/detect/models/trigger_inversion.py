"""Is a model poisoned? Reconstruct the smallest trigger of every class and see whether one is far too small.

Wang et al., "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks", IEEE S&P 2019.

We deviate in searching all classes in one batch (see ``theriac.detect.inversion``), in four families of changes
instead of masks alone, in a second pass over (source, target) pairs when no trigger for all sources stands out, and in
a decision that is calibrated on other models (see ``inversion_verdict``).
"""

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from theriac.data.images import ImageData
from theriac.detect.inversion import Effort, Triggers, search
from theriac.detect.inversion_pairs import promising_pairs
from theriac.detect.inversion_spaces import SPACES, Mask
from theriac.detect.inversion_victim import Victim
from theriac.detect.models.inversion_evidence import size_table, trigger_evidence
from theriac.detect.models.inversion_verdict import Reading, probability, read
from theriac.errors import UserError
from theriac.finding import Evidence, Finding, Method, Subject, SuspectedClasses, verdict_of
from theriac.models.classifier import Classifier
from theriac.run.budget import Budget, peak_memory
from theriac.run.progress import Progress, silent, span

PAIR_IMAGES = 6


@dataclass(frozen=True)
class TriggerInversion:
    """Searches for the smallest trigger of each class, in several families of changes.

    Args:
        spaces: Families to search: ``perturbation``, ``mask``, ``warp``, ``colour``.
        steps: Optimisation steps of the classes that come closest; others get fewer.
        images: Clean examples of each step while all classes run; later ones get more.
        asr: ASR that a trigger must reach.
        restarts: Searches of each class from different random starts.
        pairs: At most so many (source, target) pairs are searched one by one when nothing else stands out; 0 for none.
        pair_steps: Optimisation steps of the pairs that come closest.

    Raises:
        UserError: If a value is out of range.
    """

    name: ClassVar[str] = "trigger-inversion"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Wang et al., Neural Cleanse, IEEE S&P 2019"

    spaces: tuple[str, ...] = tuple(SPACES)
    steps: int = 120
    images: int = 6
    asr: float = 0.95
    restarts: int = 1
    pairs: int = 128
    pair_steps: int = 60

    def __post_init__(self) -> None:
        unknown = [space for space in self.spaces if space not in SPACES]
        if unknown or not self.spaces:
            raise UserError(f"unknown spaces {unknown}", where=self.name, do=f"choose from: {', '.join(SPACES)}")
        if min(self.steps, self.images, self.restarts, self.pair_steps) < 1 or self.pairs < 0:
            raise UserError("steps, images and restarts must be at least 1, pairs at least 0", where=self.name)
        if not 0 < self.asr < 1:
            raise UserError(f"asr must be between 0 and 1, got {self.asr}", where=self.name)

    def scan(
        self,
        model: Classifier,
        clean: ImageData,
        *,
        budget: Budget,
        generator: torch.Generator,
        progress: Progress = silent,
    ) -> Finding:
        """Scans ``model`` with the help of ``clean`` labelled examples, on the model's device.

        Raises:
            UserError: If there are too few clean examples, or they do not fit the model.
        """
        started, seed = budget.spent(), generator.initial_seed()
        victim = Victim(model, clean, generator)
        readings = self.all_sources(victim, budget, generator, span(progress, 0, 0.8))
        skipped = [] if self.restarts > 1 else ["other random starts than one per class and space"]
        if verdict_of(probability(readings)) != "poisoned":
            readings += self.single_sources(victim, budget, generator, skipped, span(progress, 0.8, 1))
        else:
            skipped.append("triggers for single source classes: one for all of them was found first")
        complete = all(reading.triggers.complete for reading in readings) and not budget.expired
        if not complete:
            skipped.insert(0, f"all that was planned: the budget of {budget.seconds:g} s ran out")
        missing = [space for space in SPACES if space not in {reading.triggers.space.name for reading in readings}]
        skipped += [f"triggers in the space {space!r}" for space in missing]
        skipped.append("triggers that depend on the image, or are none of: patch, added pattern, warp, colour change")
        chance = probability(readings)
        verdict = verdict_of(chance)
        progress(1, "decided")
        return Finding(
            subject=Subject(kind="model", name=model.name, sha256=model.sha256),
            method=Method(name=self.name, version=self.version, settings=asdict(self) | {"spaces": list(self.spaces)}),
            probability=round(chance, 6),
            verdict="inconclusive" if verdict == "clean" and not complete else verdict,
            summary=_summary(readings, verdict, model.classes, complete),
            evidence=_evidence(readings, verdict, victim, model.classes),
            not_checked=skipped,
            seconds=budget.spent() - started,
            peak_memory=peak_memory(),
            device=str(model.device),
            seed=seed,
        )

    def all_sources(
        self, victim: Victim, budget: Budget, generator: torch.Generator, progress: Progress
    ) -> list[Reading]:
        """Searches triggers that work on every source class, space by space."""
        classes, (h, w) = victim.classes, victim.search.images.shape[-2:]
        targets = torch.arange(classes).repeat(self.restarts)
        effort = Effort(self.steps, self.images, asr=self.asr, survivors=3 * self.restarts)
        readings: list[Reading] = []
        delta: Tensor | None = None
        for number, name in enumerate(self.spaces):
            if budget.expired and readings:
                break
            space = SPACES[name]
            start = space.start(len(targets), h, w, generator)
            if isinstance(space, Mask) and delta is not None:
                for cold, warm in zip(start, space.start_from(delta.cpu()), strict=True):
                    cold[:classes] = warm[:classes]
            share = span(progress, number / len(self.spaces), (number + 1) / len(self.spaces))
            found = search(
                victim,
                space,
                effort,
                targets=targets,
                generator=generator,
                start=start,
                budget=budget,
                progress=share,
            )
            if name == "perturbation":
                delta = found.tensors["delta"]
            readings.append(read(_best_start(found, classes), h, w))
        return readings

    def single_sources(
        self, victim: Victim, budget: Budget, generator: torch.Generator, skipped: list[str], progress: Progress
    ) -> list[Reading]:
        """Searches triggers that work on one source class each."""
        sources, targets, total = promising_pairs(victim, self.pairs) if self.pairs else (torch.empty(0),) * 2 + (0,)
        if not len(targets) or victim.classes < 3 or budget.expired:
            skipped.append("triggers for single source classes")
            return []
        if len(targets) < total:
            skipped.append(
                f"triggers for {total - len(targets)} of {total} (source, target) pairs, the least promising"
            )
        effort = Effort(self.pair_steps, PAIR_IMAGES, asr=self.asr)
        found = search(
            victim,
            SPACES["perturbation"],
            effort,
            targets=targets,
            sources=sources,
            generator=generator,
            budget=budget,
            progress=progress,
        )
        return [read(found, *victim.search.images.shape[-2:])]


def _best_start(found: Triggers, classes: int) -> Triggers:
    """Keeps the smallest trigger of each class over all random starts."""
    starts = len(found.targets) // classes
    best = found.sizes.view(starts, classes).argmin(0) * classes + torch.arange(classes)
    return found.at(best)


def _evidence(readings: list[Reading], verdict: str, victim: Victim, classes: tuple[str, ...]) -> list[Evidence]:
    top = max(readings, key=lambda reading: reading.index)
    evidence: list[Evidence] = []
    if verdict != "clean":
        evidence.append(
            SuspectedClasses(
                target=top.target,
                target_name=classes[top.target],
                sources=[top.source] if top.source >= 0 else [],
                reason=_reason(top),
            )
        )
    agreeing = [reading for reading in readings if verdict == "poisoned" and reading.target == top.target]
    shown = sorted((r for r in agreeing if r is not top and r.index > 1), key=lambda reading: -reading.index)
    evidence += [trigger_evidence(reading, victim) for reading in (top, *shown)]
    evidence.append(size_table(readings, classes))
    return evidence


def _reason(top: Reading) -> str:
    triggers = top.triggers
    size = float(triggers.sizes[top.best])
    others = triggers.sizes[triggers.targets != top.target]
    return (
        f"a {top.kind} trigger of {size:.3g} {triggers.space.unit} leads to it; "
        f"the next class needs {float(others.min()):.3g}, a usual one {float(others.median()):.3g}"
    )


def _summary(readings: list[Reading], verdict: str, classes: tuple[str, ...], complete: bool) -> str:
    top = max(readings, key=lambda reading: reading.index)
    if verdict == "poisoned":
        which = "any image" if top.source < 0 else f"any image of {classes[top.source]!r}"
        return f"One small change leads almost {which} to {classes[top.target]!r}: {_reason(top)}."
    if verdict == "inconclusive":
        return f"{classes[top.target]!r} is easier to reach than others, but not clearly so: {_reason(top)}."
    if not complete:
        return "Nothing was found so far, but the budget ran out before all classes were searched."
    return "No class is reached by a change that is unusually small compared with those for other classes."
