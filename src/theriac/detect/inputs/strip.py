"""STRIP: an image whose class survives other images being laid over it follows a trigger, not its content.

Gao et al., "STRIP: A Defence Against Trojan Attacks on Deep Neural Networks", ACSAC 2019.

It asks the model and does not look inside, so what hides in activations does not hide from it; a trigger that does not
survive superposition (a warp of the whole image) does. We deviate from the paper in two ways. Some classes survive
superposition better than others, so an input's entropy is compared with that of trusted inputs of the same predicted
class: the paper's one scale finds classes rather than triggers. And the threshold is the conformal quantile of held-out
trusted inputs instead of that of a fitted normal distribution.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector, Need
from theriac.detect.inputs.observing import Observations, Seen, observe
from theriac.errors import Inapplicable, UserError

Superpose = Literal["add", "average"]

USUAL = 1000
"""Trusted inputs that say what entropy is usual, at most: each costs a forward pass of all its superpositions."""

PRIOR = 5.0
"""A class's usual entropy is drawn to that of all classes as if this many of its inputs were average ones."""


@dataclass
class Strip(LayerDetector):
    """Scores images by how sure the model stays of them when trusted images are laid over.

    One score, ``output``: how much lower the mean entropy of the answers is than usual for the predicted class.

    Learned state: ``references_``, uint8, and ``usual_``, the entropy of each class in nats.

    Args:
        count: Trusted images that are laid over each input (the paper's N).
        superpose: ``add`` brightnesses, clipped, as in the paper, or ``average`` them.
        seed: Seed of the choice of images.
    """

    count: int = 32
    superpose: Superpose = "add"
    seed: int = 0

    name: ClassVar[str] = "strip"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Gao et al. 2019, arXiv:1902.06531"
    needs: ClassVar[frozenset[Need]] = frozenset({"trusted"})
    learned: ClassVar[tuple[str, ...]] = ("references_", "usual_")
    positive: ClassVar[bool] = False

    def chosen_layers(self, model: Any) -> tuple[str, ...]:
        """Returns the layer of the answers."""
        return (model.head()[0],)

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        if self.count < 1 or self.superpose not in get_args(Superpose):
            what = f"cannot {self.superpose} {self.count} images"
            raise UserError(what, do=f"count at least 1; superpose: {' or '.join(get_args(Superpose))}")
        order = torch.randperm(len(trusted), generator=torch.Generator().manual_seed(self.seed))
        self.references_ = self._references(trusted, order[: self.count])
        # Images laid over themselves would say nothing; with few trusted images there are no others.
        rest = order[self.count :] if len(trusted) > 2 * self.count else order
        shown = trusted.data[rest[:USUAL].sort().values]
        entropies, predicted = [], []
        for seen in Observations(trusted.model, shown, trusted.layers, trusted.batch_size):
            entropies.append(self._entropy(seen))
            predicted.append(seen.predicted)
        values, classes = torch.cat(entropies), torch.cat(predicted)
        known = max(1, len(trusted.model.classes))
        counts = torch.bincount(classes, minlength=known)
        sums = torch.zeros(known, dtype=values.dtype, device=values.device).index_add_(0, classes, values)
        self.usual_ = (sums + PRIOR * values.mean()) / (counts + PRIOR)

    def _references(self, trusted: Observations, index: Tensor) -> Tensor:
        pixels = [batch for batch, _ in trusted.data[index.sort().values].batches(len(index), trusted.model.device)]
        if not all(isinstance(batch, Tensor) and batch.ndim == 4 and batch.is_floating_point() for batch in pixels):
            what = f"{self.name} lays images over each other, and these inputs are none"
            raise Inapplicable(what, where=trusted.data.name, do="choose another method")
        if len(trusted.model.classes) < 2:
            raise Inapplicable(f"{self.name} needs a model that classifies", where=trusted.model.name)
        return (torch.cat(pixels) * 255).round().clamp(0, 255).to(torch.uint8)

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        return {"output": self.usual_[seen.predicted] - self._entropy(seen)}

    def _entropy(self, seen: Seen) -> Tensor:
        """Returns the mean entropy [b] of the answers to the inputs with each reference laid over them."""
        images: Tensor = seen.inputs
        model, [head] = self.model_, self.layers_
        over = self.references_.to(images) / 255
        if over.shape[-2:] != images.shape[-2:]:
            over = F.interpolate(over, size=images.shape[-2:], mode="bilinear", antialias=True, align_corners=False)
        entropies = []
        for part in torch.split(
            images, max(1, self.batch_size // len(over))
        ):  # no more memory than one batch of inputs
            together = part[:, None] + over
            mixed = together.clamp(max=1) if self.superpose == "add" else together / 2
            answers = observe(model, mixed.flatten(0, 1), (head,)).rows[head].double().log_softmax(1)
            entropies.append(-(answers.exp() * answers).sum(1).view(len(part), len(over)).mean(1))
        return torch.cat(entropies)

    def try_out(self) -> None:
        """Scores two black images, so that a damaged state is found when it is read; raises whatever goes wrong."""
        device = self.model_.device
        images = torch.zeros(2, *self.references_.shape[1:], device=device)
        self.aggregate(self._score(observe(self.model_, images, self.layers_)))
