"""Fine-tuning on trusted inputs: answers that it changes rest on what trusted inputs do not need.

cupbearer's fine-tuning detector (Jenner 2023): a copy of the model is fine-tuned on trusted labelled inputs, and the
score is the Kullback-Leibler divergence of its answer from the original's.

We deviate in how it is fine-tuned. Trusted inputs are already answered well, so plain fine-tuning has no reason to
forget a backdoor: on our test systems it changed the answers to usual inputs more than to triggered ones. We use
feature shift tuning (Min et al., "Towards Stable Backdoor Purification through Feature Shift Tuning", NeurIPS 2023):
the last layer starts anew, with the old one's norm, and is kept away from where it was, so that all features must be
learned again and only those for which trusted inputs give a reason come back. Other than in the paper the norm is
restored after each step, and the learning rate follows one cycle. Every step draws its batch from all the inputs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from theriac.detect.inputs.base import LayerDetector, Need
from theriac.detect.inputs.observing import Observations, Seen, observe
from theriac.errors import Inapplicable, UserError
from theriac.models.activations import evaluating

BATCH = 64


@dataclass
class Finetuning(LayerDetector):
    """Scores images by how much fine-tuning on trusted labelled images changes the model's answer.

    One score, ``output``: the divergence KL(original || fine-tuned) of the answers, in nats.

    Learned state: ``tuned_``, the tensors that fine-tuning changed, by name, and ``shape_`` of the images.

    Args:
        steps: Batches of 64 images that the copy learns from.
        rate: Largest learning rate.
        shift: Weight of the penalty that keeps the last layer away from the old one; 0 is plain fine-tuning.
        seed: Seed of the new last layer, the batches and dropout.
    """

    steps: int = 200
    rate: float = 0.05
    shift: float = 0.2
    seed: int = 0

    name: ClassVar[str] = "finetuning"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Min et al. 2023, arXiv:2310.01875; Jenner 2023, github.com/ejnnr/cupbearer"
    needs: ClassVar[frozenset[Need]] = frozenset({"trusted", "labels"})
    learned: ClassVar[tuple[str, ...]] = ("tuned_", "shape_")

    def chosen_layers(self, model: Any) -> tuple[str, ...]:
        """Returns the layer of the answers."""
        return (model.head()[0],)

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        model, data = trusted.model, trusted.data
        batch, _ = next(data[torch.arange(1)].batches(1, model.device))
        if not (isinstance(batch, Tensor) and batch.ndim == 4 and batch.is_floating_point()):
            raise Inapplicable(f"{self.name} learns from labelled images", where=data.name, do="choose another method")
        if len(model.classes) < 2:
            raise Inapplicable(f"{self.name} needs a model that classifies", where=model.name)
        self.shape_ = list(batch.shape[1:])
        with _apart(model.device, self.seed):
            copy = self._tuned(model, trusted)
        before = dict(model.state_dict())
        self.tuned_ = {name: value for name, value in copy.state_dict().items() if not torch.equal(value, before[name])}

    def _tuned(self, model: Any, trusted: Observations) -> Any:
        """Returns a fine-tuned copy."""
        generator = torch.Generator().manual_seed(self.seed)
        copy = deepcopy(model).train().requires_grad_(True)
        weight, old = self._new_head(copy, generator)
        optimizer = torch.optim.SGD(copy.parameters(), self.rate, 0.9, weight_decay=5e-4, nesterov=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=self.steps)
        with torch.enable_grad():
            for _ in range(self.steps):
                index = torch.randperm(len(trusted), generator=generator)[:BATCH]
                [(batch, labels)] = trusted.data[index].batches(BATCH, model.device)
                loss = F.cross_entropy(copy(batch).float(), labels)
                if weight is not None:
                    loss = loss + self.shift * (weight * old).sum() / old.norm()
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                if weight is not None:
                    weight.data *= old.norm() / weight.data.norm()
        if not loss.isfinite():
            raise UserError("fine-tuning diverged", where=model.name, do=f"choose a rate below {self.rate:g}")
        return copy.eval()

    def _new_head(self, copy: Any, generator: torch.Generator) -> tuple[nn.Parameter | None, Tensor]:
        """Starts the last layer of ``copy`` anew; returns its weight, or None if it stays, and what it was."""
        head = copy.head()[1]
        weight = getattr(head, "weight", None)
        if self.shift == 0 or not isinstance(weight, nn.Parameter):
            return None, torch.zeros(0)
        old = weight.detach().clone()
        new = torch.randn(old.shape, generator=generator).to(old)
        weight.data = new * (old.norm() / new.norm())
        if isinstance(getattr(head, "bias", None), nn.Parameter):
            head.bias.data = torch.zeros_like(head.bias)
        return weight, old

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        [head] = self.layers_
        with evaluating(self.model_), torch.no_grad():
            after = functional_call(self.model_, self.tuned_, (seen.inputs,)).double().log_softmax(1)
        before = seen.rows[head].double().log_softmax(1)
        return {"output": (before.exp() * (before - after)).sum(1).clamp(min=0)}

    def try_out(self) -> None:
        """Scores two black images, so that a damaged state is found when it is read; raises whatever goes wrong."""
        own = self.model_.state_dict()
        for name, value in self.tuned_.items():
            if own[name].shape != value.shape:
                raise ValueError(f"{name} has another shape")
        images = torch.zeros(2, *(int(side) for side in self.shape_), device=self.model_.device)
        self.aggregate(self._score(observe(self.model_, images, self.layers_)))


@contextmanager
def _apart(device: torch.device, seed: int) -> Iterator[None]:
    """Seeds dropout for the block, leaves the global random state as it was, and lets cuDNN only repeat itself."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(benchmark=False, deterministic=True):
        torch.manual_seed(seed)
        yield
