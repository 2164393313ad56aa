"""Unlearns the reconstructed trigger while the clean behaviour is held in place.

Wang et al., "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural Networks", IEEE S&P 2019: fine-tune
on clean examples, some of which carry the reconstructed trigger and keep their true label.

We deviate in three ways. Besides the given triggers, in random strengths and small shifts, others are searched for in
the model as it is now (``theriac.mitigate.chasers``), so that the attacker's own trigger goes too. On examples without
trigger the model is distilled from the original (Hinton, Vinyals & Dean, arXiv:1503.02531), which costs less accuracy
than labels alone. And no harm is done: examples that were held out decide whether the repaired model, or one between it
and the original (Wortsman et al., CVPR 2022), is returned, or the original itself.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from theriac.data.images import ImageData
from theriac.detect.inverted import decode
from theriac.errors import UserError
from theriac.finding import Finding, TriggerEvidence
from theriac.mitigate import Mitigated
from theriac.mitigate.chasers import Chaser
from theriac.mitigate.outcome import Outcome, Rates, report
from theriac.models.classifier import Classifier
from theriac.registry import settings_of
from theriac.run.budget import Budget
from theriac.run.device import multiplies_bfloat16
from theriac.run.progress import Progress, silent, span

Trigger = Callable[[Tensor], Tensor]
BLENDS = (1.0, 0.8, 0.6)
FEWEST = 24


@dataclass(frozen=True)
class Unlearn:
    """Unlearning of the reconstructed trigger, with fine-tuning on clean examples and a guard against harm.

    Args:
        steps: Gradient steps.
        lr: Peak learning rate of SGD with momentum 0.9.
        batch_size: Clean examples per step; as many triggered ones are added.
        distillation: Weight of the original model's answers on clean examples.
        held_out: Share of the clean examples that is only measured on.
        max_drop: Largest loss of accuracy on them that is accepted.
        max_asr: Largest ASR of the reconstructed triggers on them that counts as repaired.
        patch_limit: Share of the image that a searched patch may cover.
        faint_limit: Root mean square in [0, 1] of a searched change of all pixels.
        force: Repair even a model that was found clean, towards its most suspected class.
    """

    steps: int = 120
    lr: float = 0.006
    batch_size: int = 96
    distillation: float = 2.0
    held_out: float = 0.2
    max_drop: float = 0.02
    max_asr: float = 0.1
    patch_limit: float = 0.03
    faint_limit: float = 0.04
    force: bool = False

    name: ClassVar[str] = "unlearn"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Wang et al. 2019, doi:10.1109/SP.2019.00031"

    def mitigate(
        self,
        model: Classifier,
        clean: ImageData,
        *,
        budget: Budget,
        generator: torch.Generator,
        finding: Finding | None = None,
        progress: Progress = silent,
    ) -> Mitigated:
        """Repairs a copy of ``model`` with ``clean`` labelled examples; ``finding`` is a model detector's, if known.

        Raises:
            UserError: If there are fewer than 24 clean examples or their classes are not the model's.
        """
        if len(clean) < FEWEST or len(clean.classes) != len(model.classes):
            what = f"{len(clean)} examples of {len(clean.classes)} classes cannot repair {len(model.classes)} classes"
            raise UserError(what, where=clean.name, do=f"give at least {FEWEST} clean examples of the model's classes")
        seed, started = generator.initial_seed(), budget.spent()
        if finding is None:
            finding = _scan(model, clean, budget, generator, span(progress, 0, 0.5))
        triggers = _triggers(finding)
        if not triggers or (finding.verdict == "clean" and not self.force):
            outcome = Outcome(model, clean, finding, settings_of(self), changed=False, seed=seed, started=started)
            return Mitigated(model, report(outcome, self, budget), changed=False)
        order = torch.randperm(len(clean), generator=generator)
        held = max(12, int(self.held_out * len(clean)))
        work = _Repair(self, model, clean[order[held:]], clean[order[:held]], triggers, generator)
        before = work.rates(model)
        steps = work.run(budget, progress)
        repaired, after = work.choose(before)
        outcome = Outcome(
            model,
            clean,
            finding,
            settings_of(self),
            repaired is not model,
            seed,
            started,
            before,
            after,
            steps,
            work.fresh_asr(repaired),
        )
        progress(1.0, "done")
        return Mitigated(repaired, report(outcome, self, budget), changed=repaired is not model)


def _scan(
    model: Classifier, clean: ImageData, budget: Budget, generator: torch.Generator, progress: Progress
) -> Finding:
    from theriac.detect.models.trigger_inversion import TriggerInversion

    found: Finding = TriggerInversion().scan(
        model, clean, budget=budget.part(0.6), generator=generator, progress=progress
    )
    return found


def _triggers(finding: Finding) -> list[tuple[int, Trigger]]:
    """Returns (target, trigger) of every reconstructed trigger that the finding holds."""
    pieces = [e for e in finding.evidence if isinstance(e, TriggerEvidence) and e.parameters is not None]
    return [(piece.target, decode(piece.parameters)) for piece in pieces if piece.parameters is not None]


class _Repair:
    """The working copy, the original, the examples and the triggers of one repair."""

    def __init__(
        self,
        settings: Unlearn,
        model: Classifier,
        train: ImageData,
        held: ImageData,
        triggers: list[tuple[int, Trigger]],
        generator: torch.Generator,
    ) -> None:
        self.settings, self.original, self.train, self.held = settings, model, train, held
        self.triggers, self.generator = triggers, generator
        self.device = model.device
        self.student = copy.deepcopy(model).to(memory_format=torch.channels_last)
        self.half = multiplies_bfloat16(self.device)
        self.targets = sorted({target for target, _ in triggers})
        self.chasers: list[Chaser] = []

    def run(self, budget: Budget, progress: Progress) -> int:
        """Trains the student and returns the number of steps taken."""
        own = self.settings
        images, labels = self.train.pixels(device=self.device), self.train.labels.to(self.device)
        optimiser = torch.optim.SGD(self.student.parameters(), own.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, own.lr, total_steps=own.steps, pct_start=0.2)
        for step in range(own.steps):
            if budget.expired:
                return step
            if step % 10 == 0 and step <= 0.85 * own.steps:
                self._chase(images, step // 10)
            self._restore_gradients()
            self.student.train()
            index = torch.randint(len(images), (2 * own.batch_size,), generator=self.generator).to(self.device)
            plain, marked = torch.split(index, own.batch_size)
            shown = self._augmented(images[plain])
            answers = self._logits(self.original, shown)
            batch = torch.cat([shown, self._triggered(images[marked])])
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                logits = self.student(batch.contiguous(memory_format=torch.channels_last)).float()
            known, unlearnt = torch.split(logits, own.batch_size)
            towards = F.softmax(answers / 2, 1)
            kept = 4 * F.kl_div(F.log_softmax(known / 2, 1), towards, reduction="batchmean")
            loss = F.cross_entropy(known, labels[plain]) + F.cross_entropy(unlearnt, labels[marked])
            optimiser.zero_grad()
            torch.autograd.backward(loss + own.distillation * kept)
            optimiser.step()
            schedule.step()
            progress((step + 1) / own.steps, "unlearning")
        return own.steps

    def _restore_gradients(self) -> None:
        for parameter in self.student.parameters():
            parameter.requires_grad_(True)

    def _chase(self, images: Tensor, turn: int) -> None:
        """Lets the searched triggers follow the model; every sixth turn one of each kind starts anew."""
        self.student.eval().requires_grad_(False)
        fresh = not self.chasers or turn % 6 == 0
        if fresh:
            self.chasers = self._searched()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            for chaser in self.chasers:
                steps = 50 if turn == 0 else 20 if fresh else 3
                chaser.chase(self.student, images, steps, 48, self.generator)

    def _searched(self) -> list[Chaser]:
        own, shape = self.settings, self.train.images.shape[1:]
        return [
            Chaser.start(target, shape, patch=patch, limit=limit, generator=self.generator).to(self.device)
            for target in self.targets[:3]
            for patch, limit in ((True, own.patch_limit), (False, own.faint_limit))
        ]

    def _triggered(self, images: Tensor) -> Tensor:
        """Returns ``images`` [n, 3, h, w], each part with another trigger, in random strengths and shifts."""
        kinds: list[Chaser | Trigger] = [*(trigger for _, trigger in self.triggers), *self.chasers]
        parts = []
        for kind, part in zip(kinds, images.tensor_split(len(kinds)), strict=True):
            strength = 0.4 + torch.rand(len(part), 1, 1, 1, generator=self.generator).to(self.device)
            if isinstance(kind, Chaser):
                parts.append(kind(part, strength))
                continue
            dy, dx = torch.randint(-2, 3, (2,), generator=self.generator).tolist()
            shifted = kind(part.roll((-dy, -dx), (2, 3))).roll((dy, dx), (2, 3))  # moves the trigger, not the image
            parts.append((part + strength * (shifted - part)).clamp(0, 1))
        return torch.cat(parts)

    def _augmented(self, images: Tensor) -> Tensor:
        """Returns ``images`` shifted by up to a twelfth of a side; no mirroring, which signs and letters forbid."""
        reach = max(1, images.shape[-1] // 12)
        dy, dx = torch.randint(0, 2 * reach + 1, (2,), generator=self.generator).tolist()
        h, w = images.shape[-2:]
        return F.pad(images, (reach,) * 4, mode="reflect")[:, :, dy : dy + h, dx : dx + w]

    @torch.no_grad()
    def _logits(self, model: Classifier, images: Tensor) -> Tensor:
        mode = model.training
        model.eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            parts = [model(part).float() for part in torch.split(images, 256)]
        model.train(mode)
        return torch.cat(parts)

    def rates(self, model: Classifier) -> Rates:
        """Returns accuracy on the held-out examples, and the worst trigger's ASR and base rate on them."""
        images, labels = self.held.pixels(device=self.device), self.held.labels.to(self.device)
        plain = self._logits(model, images).argmax(1)
        accuracy = float((plain == labels).float().mean())
        worst = (0.0, 0.0)
        for target, trigger in self.triggers:
            others = labels != target
            if others.any():
                given = self._logits(model, trigger(images[others])).argmax(1)
                asr, base = (float((answer == target).float().mean()) for answer in (given, plain[others]))
                worst = max(worst, (asr, base))
        return Rates(accuracy, *worst)

    def choose(self, before: Rates) -> tuple[Classifier, Rates]:
        """Returns the repaired model, softened towards the original as far as needed, or the original."""
        self._settle()
        self._restore_gradients()
        self.student.train(self.original.training)
        repaired = {name: value.clone() for name, value in self.student.state_dict().items()}
        original = self.original.state_dict()
        allowed = max(self.settings.max_drop, 1.5 / len(self.held))  # one example more or less is no harm
        for share in BLENDS:
            mixed = {
                name: torch.lerp(original[name], value, share) if value.is_floating_point() else value
                for name, value in repaired.items()
            }
            self.student.load_state_dict(mixed)
            after = self.rates(self.student)
            if before.accuracy - after.accuracy <= allowed and after.asr <= max(self.settings.max_asr, after.base_rate):
                self.student.sha256, self.student.name = "0" * 64, f"{self.original.name} (repaired)"
                for mine, theirs in zip(self.student.parameters(), self.original.parameters(), strict=True):
                    mine.requires_grad_(theirs.requires_grad)
                return self.student, after
        return self.original, before

    @torch.no_grad()
    def _settle(self) -> None:
        """Measures the batch normalisations' running statistics anew, on clean examples without triggers."""
        norms = [m for m in self.student.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        kept = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over batches
        self.student.train()
        for images, _ in self.train.batches(256, self.device) if norms else ():
            if len(images) > 1:
                self.student(images)
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum

    def fresh_asr(self, model: Classifier) -> float:
        """Returns the best ASR on held-out examples of triggers newly searched for in ``model``, kept small."""
        images, labels = self.held.pixels(device=self.device), self.held.labels.to(self.device)
        trial = copy.deepcopy(model).eval().requires_grad_(False)
        asr = 0.0
        for chaser in self._searched():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                chaser.chase(trial, self.train.pixels(slice(0, 512), self.device), 30, 48, self.generator)
            others = labels != chaser.target
            if others.any():
                given = self._logits(trial, chaser(images[others])).argmax(1)
                asr = max(asr, float((given == chaser.target).float().mean()))
        return asr
