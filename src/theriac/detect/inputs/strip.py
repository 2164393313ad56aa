"""STRIP: an image whose class survives other images being laid over it follows a trigger, not its content.

Gao et al., "STRIP: A Defence Against Trojan Attacks on Deep Neural Networks", ACSAC 2019.

It asks the model and does not look inside, so what hides in activations does not hide from it; a trigger that does not
survive superposition (a warp of the whole image) does. We deviate from the paper in three ways. Some classes survive
superposition better than others, so an input's entropy is compared with that of trusted inputs of the same predicted
class: the paper's one scale finds classes rather than triggers. The other images are laid over at full brightness, as
in the paper, and at half of it, with half as many images each, and the more suspicious score counts: at full brightness
photographs turn white and the trigger with them, at half strokes on black stay as readable as before. And the threshold
is the conformal quantile of held-out trusted inputs instead of that of a fitted normal distribution.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector, Need
from theriac.detect.inputs.combining import Combine
from theriac.detect.inputs.observing import Observations, Seen, observe
from theriac.errors import Inapplicable, UserError

USUAL = 1000
"""Trusted inputs that say what entropy is usual, at most: each costs a forward pass of all its superpositions."""

PRIOR = 5.0
"""A class's usual entropy is drawn to that of all classes as if this many of its inputs were average ones."""


@dataclass
class Strip(LayerDetector):
    """Scores images by how sure the model stays of them when trusted images are laid over.

    One score for each brightness: how much lower the mean entropy of the answers is than usual for the predicted class.

    Learned state: ``references_``, uint8, and ``usual_``, for each brightness the entropy of each class in nats.

    Args:
        count: Trusted images that are laid over each input (the paper's N) at each brightness.
        weights: Brightnesses at which they are added, before the sum is clipped; 1 in the paper.
        seed: Seed of the choice of images.
        combine: How brightnesses become one score: ``mean``, ``max``, or ``both``, the larger of the two.
    """

    count: int = 16
    weights: tuple[float, ...] = (0.5, 1.0)
    seed: int = 0
    combine: Combine = "max"

    name: ClassVar[str] = "strip"
    version: ClassVar[str] = "2"
    paper: ClassVar[str] = "Gao et al. 2019, arXiv:1902.06531"
    needs: ClassVar[frozenset[Need]] = frozenset({"trusted"})
    learned: ClassVar[tuple[str, ...]] = ("references_", "usual_")
    positive: ClassVar[bool] = False

    def chosen_layers(self, model: Any) -> tuple[str, ...]:
        """Returns the layer of the answers."""
        return (model.head()[0],)

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        if self.count < 1 or not self.weights or min(self.weights) <= 0:
            raise UserError(f"count {self.count} and weights {list(self.weights)} must be above 0", where=self.name)
        order = torch.randperm(len(trusted), generator=torch.Generator().manual_seed(self.seed))
        self.references_ = self._references(trusted, order[: self.count])
        # Images laid over themselves would say nothing; with few trusted images there are no others.
        rest = order[self.count :] if len(trusted) > 2 * self.count else order
        shown = trusted.data[rest[:USUAL].sort().values]
        entropies: dict[str, list[Tensor]] = {}
        predicted = []
        for seen in Observations(trusted.model, shown, trusted.layers, trusted.batch_size):
            for key, values in self._entropies(seen).items():
                entropies.setdefault(key, []).append(values)
            predicted.append(seen.predicted)
        classes, known = torch.cat(predicted), len(trusted.model.classes)
        self.usual_ = {key: _by_class(torch.cat(values), classes, known) for key, values in entropies.items()}

    def _references(self, trusted: Observations, index: Tensor) -> Tensor:
        pixels = [batch for batch, _ in trusted.data[index.sort().values].batches(len(index), trusted.model.device)]
        if not all(isinstance(batch, Tensor) and batch.ndim == 4 and batch.is_floating_point() for batch in pixels):
            what = f"{self.name} lays images over each other, and these inputs are none"
            raise Inapplicable(what, where=trusted.data.name, do="choose another method")
        if len(trusted.model.classes) < 2:
            raise Inapplicable(f"{self.name} needs a model that classifies", where=trusted.model.name)
        return (torch.cat(pixels) * 255).round().clamp(0, 255).to(torch.uint8)

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        return {key: self.usual_[key][seen.predicted] - values for key, values in self._entropies(seen).items()}

    def _entropies(self, seen: Seen) -> dict[str, Tensor]:
        """Returns for each brightness the mean entropy [b] of the answers with each reference laid over."""
        images: Tensor = seen.inputs
        over = self.references_.to(images) / 255
        if over.shape[-2:] != images.shape[-2:]:
            over = F.interpolate(over, size=images.shape[-2:], mode="bilinear", antialias=True, align_corners=False)
        return {f"brightness {weight:g}": self._entropy(images, weight * over) for weight in self.weights}

    def _entropy(self, images: Tensor, over: Tensor) -> Tensor:
        [head] = self.layers_
        entropies = []
        few = max(1, self.batch_size // len(over))  # so that it takes no more memory than one batch of inputs
        for part in torch.split(images, few):
            mixed = (part[:, None] + over).clamp(max=1).flatten(0, 1)
            answers = observe(self.model_, mixed, (head,)).rows[head].double().log_softmax(1)
            entropies.append(-(answers.exp() * answers).sum(1).view(len(part), len(over)).mean(1))
        return torch.cat(entropies)

    def try_out(self) -> None:
        """Scores two black images, so that a damaged state is found when it is read; raises whatever goes wrong."""
        device = self.model_.device
        images = torch.zeros(2, *self.references_.shape[1:], device=device)
        self.aggregate(self._score(observe(self.model_, images, self.layers_)))


def _by_class(values: Tensor, classes: Tensor, known: int) -> Tensor:
    """Returns the mean of each class [known], drawn to that of all."""
    counts = torch.bincount(classes, minlength=known)
    sums = torch.zeros(known, dtype=values.dtype, device=values.device).index_add_(0, classes, values)
    return (sums + PRIOR * values.mean()) / (counts + PRIOR)
