"""Adversarial examples: small changes of an image that lead a clean model to another answer.

Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018 (projected gradient descent,
PGD), untargeted, in the L-infinity ball.

We deviate by rounding the result to the 256 levels that images are stored with; only rounded examples that still work
count, so that what a defender sees is what was measured.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import JsonValue
from torch import Tensor

from theriac.data.images import ImageData
from theriac.errors import UserError
from theriac.models.classifier import Classifier
from theriac.run.budget import Budget
from theriac.run.progress import Progress, span
from theriac.tasks.backdoor import write_inputs
from theriac.tasks.files import Made
from theriac.tasks.images import ImageTask
from theriac.training.classifier import Unfinished
from theriac.training.record import predict

BATCH = 100


@dataclass(frozen=True)
class Adversarial(ImageTask):
    """Adversarial examples of a clean model, by projected gradient descent.

    Args:
        epsilon: Largest change of a pixel, in [0, 1].
        step_size: Change of a pixel in one step.
        steps: Gradient steps.
        max_robust_accuracy: Share of attacked images, at most, that the model may still be right about.
    """

    name: ClassVar[str] = "adversarial"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Madry et al., PGD, ICLR 2018"

    epsilon: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 40
    max_robust_accuracy: float = 0.75
    untrusted: int = 500
    test: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.step_size <= self.epsilon <= 1 and self.steps >= 1):
            what = "needs 0 < step_size <= epsilon <= 1 and at least one step"
            raise UserError(what, where=self.name, do="the paper's are 2/255, 8/255 and 40")

    def _make(self, folder: Path, seed: int, device: torch.device, budget: Budget, progress: Progress) -> Made:
        progress(0.0, "images")
        seeds = torch.randint(2**31, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
        enough = 1.1 / max(0.05, 1 - self.max_robust_accuracy) / self.min_accuracy
        data, rest = self.images(seeds[0], enough)
        model, record = self.train(
            folder / "model.safetensors",
            data,
            rest,
            None,
            seed=seeds[1],
            epochs=self.epochs,
            device=device,
            budget=budget,
            progress=span(progress, 0.1, 0.6),
        )
        if record.reasons:
            raise UserError("; ".join(record.reasons), where=self.name, do="raise rows or epochs")
        attacked = rest[self.usual :]
        attacked = attacked[predict(model, attacked) == attacked.labels]
        adversarial, fooled = self._attacked(model, attacked, seeds[2], budget, span(progress, 0.6, 1))
        robust, found = 1 - float(fooled.float().mean()), fooled.nonzero().flatten()
        if robust > self.max_robust_accuracy or len(found) < self.anomalies:
            what = f"the attack fails: the model stays right about {robust:.3f} of {len(fooled)} images"
            raise UserError(what, where=self.name, do="raise epsilon or steps")
        about: dict[str, JsonValue] = {
            "accuracy": None if record.accuracy is None else record.accuracy.value,
            "robust_accuracy": robust,
            "attacked": len(fooled),
            "trained_on": len(data),
            "data": {"train": data.sha256, "rest": rest.sha256},
            "training_seconds": record.seconds,
        }
        return write_inputs(
            self, folder, rest[: self.usual], adversarial[found[: self.anomalies]], seeds[3], "model.safetensors", about
        )

    def _attacked(
        self, model: Classifier, data: ImageData, seed: int, budget: Budget, progress: Progress
    ) -> tuple[ImageData, Tensor]:
        """Attacks images until enough are successes; returns all that were attacked, and on which it worked."""
        generator = torch.Generator().manual_seed(seed)
        parts: list[Tensor] = []
        fooled = torch.zeros(0, dtype=torch.bool)
        for images, labels in data.batches(BATCH, model.device):
            if budget.expired:
                raise Unfinished("the budget ran out during the attack")
            changed = pgd(model, images, labels, self.epsilon, self.step_size, self.steps, generator)
            parts.append((changed * 255).round().to(torch.uint8).cpu())
            attacked = replace(data[: sum(map(len, parts))], images=torch.cat(parts))
            fooled = torch.cat([fooled, predict(model, attacked[len(fooled) :]) != attacked.labels[len(fooled) :]])
            progress(min(1, int(fooled.sum()) / self.anomalies), "attack")
            if int(fooled.sum()) >= self.anomalies:
                break
        return attacked, fooled


def pgd(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Returns images within ``epsilon`` of ``images`` that raise the loss of ``model``.

    Args:
        model: In evaluation mode; its weights are not touched.
        images: Float [n, 3, h, w] in [0, 1].
        labels: Right answers [n].
        epsilon: Largest change of a pixel.
        step_size: Change of a pixel in one step.
        steps: Gradient steps.
        generator: CPU generator of the random start.
    """
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    start = (torch.rand(images.shape, generator=generator) * 2 - 1) * epsilon
    changed = (images + start.to(images)).clamp(0, 1)
    for _ in range(steps):
        changed.requires_grad_()
        loss = F.cross_entropy(model(changed), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, changed)
        with torch.no_grad():
            changed = torch.minimum(torch.maximum(changed + step_size * gradient.sign(), low), high)
    return changed.detach()
