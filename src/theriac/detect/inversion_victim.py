"""The model under suspicion and the clean examples, as the search for triggers uses them."""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from theriac.data.images import ImageData
from theriac.errors import UserError
from theriac.models.classifier import Classifier
from theriac.run.device import multiplies_bfloat16

MARGIN = 0.2
"""The logit margin that a trigger must win by, as a share of the model's usual one on clean examples."""
FEWEST = 24
PIXELS = {"cpu": 2_000_000, "cuda": 4_000_000}
"""How many pixels pass through the network at a time."""


@dataclass
class Victim:
    """A frozen working copy of a model, and clean examples cut into three: to search with, to tune with, held out.

    Args:
        model: The model; it is copied, never changed.
        clean: Clean labelled examples.
        generator: CPU generator that cuts them.

    Raises:
        UserError: If there are fewer than ``FEWEST`` examples, of fewer than two classes, or of other classes.
    """

    model: Classifier
    clean: ImageData
    generator: torch.Generator
    search: ImageData = field(init=False)
    tune: ImageData = field(init=False)
    held_out: ImageData = field(init=False)
    margin: float = field(init=False)

    def __post_init__(self) -> None:
        clean, classes = self.clean, len(self.model.classes)
        present = int((torch.bincount(clean.labels) > 0).sum())
        if len(clean.classes) != classes:
            raise UserError(f"has {len(clean.classes)} classes, the model {classes}", where=clean.name)
        if len(clean) < FEWEST or present < 2:
            raise UserError(
                f"{len(clean)} clean examples of {present} classes are too few",
                where=clean.name,
                do=f"give at least {FEWEST}, better a few hundred, of all classes",
            )
        order = torch.randperm(len(clean), generator=self.generator)
        cuts = [round(len(clean) * share) for share in (0.5, 0.7)]
        self.search, self.tune, self.held_out = (clean[part.sort().values] for part in order.tensor_split(cuts))
        self.device = self.model.device
        self.classes = classes
        self.half = multiplies_bfloat16(self.device)
        with torch.no_grad():
            self.model = copy.deepcopy(self.model).eval().requires_grad_(False).to(memory_format=torch.channels_last)
            logits = self.logits(self.search.pixels(device=self.device))
        if not logits.isfinite().all():
            raise UserError("answers clean examples with NaN or infinity", where=self.model.name)
        best = logits.topk(2, dim=1).values
        self.margin = MARGIN * max(float((best[:, 0] - best[:, 1]).median()), 1e-3)

    @property
    def batch(self) -> int:
        """How many images pass through the network at a time."""
        return max(1, PIXELS[self.device.type] // self.model.image_size**2)

    def logits(self, images: Tensor) -> Tensor:
        """Returns float32 logits [n, k] of ``images`` [n, 3, h, w] in [0, 1]."""
        return torch.cat([self._forward(part) for part in torch.split(images, self.batch)])

    def _forward(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits: Tensor = self.model(images.contiguous(memory_format=torch.channels_last))
        return logits.float()

    def lead(self, images: Tensor, targets: Tensor) -> Tensor:
        """Returns by how much the logit of ``targets`` [n] leads all others [n]."""
        return lead(self.logits(images), targets)

    def lead_and_gradient(self, images: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``lead`` [n], and the gradient of the weighted hinge loss by ``images``.

        The loss of an image is ``relu(margin - lead) / margin``. The network sees a part of the images at a time, so
        that memory does not grow with their number.
        """
        leads, gradients = [], []
        for x, t, w in zip(*(torch.split(v, self.batch) for v in (images.detach(), targets, weights)), strict=True):
            leaf = x.requires_grad_()
            ahead = lead(self._forward(leaf), t)
            loss = ((1 - ahead / self.margin).relu() * w).sum()
            gradients.append(torch.autograd.grad(loss, leaf)[0])
            leads.append(ahead.detach())
        return torch.cat(leads), torch.cat(gradients)

    def lead_and_slope(self, images: Tensor, target: int) -> tuple[Tensor, Tensor]:
        """Returns ``lead`` [n] of one target, and its gradient by ``images``."""
        leaf = images.detach().requires_grad_()
        ahead = lead(self._forward(leaf), torch.full((len(leaf),), target, device=self.device))
        return ahead.detach(), torch.autograd.grad(ahead.sum(), leaf)[0]


def lead(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns by how much the target's logit leads the best other one.

    >>> lead(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1]))
    tensor([1.])
    """
    own = logits.gather(1, targets[:, None])
    others = logits.scatter(1, targets[:, None], -torch.inf).amax(1)
    return own[:, 0] - others
