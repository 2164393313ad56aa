"""Universal triggers that chase a model while it is being repaired.

A trigger reconstructed once is never the attacker's own, and a model can unlearn the one and keep the other. So the
repair plays the minimax game of I-BAU (Zeng et al., "Adversarial Unlearning of Backdoors via Implicit Hypergradient",
ICLR 2022): again and again, changes that work on every image are searched for in the model as it is now. We deviate in
what is searched, a small opaque patch and a faint change of all pixels, both towards the suspected target, and in using
alternating gradient steps instead of the implicit hypergradient.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Chaser:
    """One universal trigger towards ``target``, kept small enough that only a backdoor explains its success.

    Attributes:
        target: The class that the trigger leads to.
        patch: Whether it is a masked patch (else a faint change of all pixels).
        limit: Share of the image's area for a patch, root mean square in [0, 1] for a faint change.
        parts: The tensors that are optimised: mask logits [h, w] and pattern [3, h, w], or a change [3, h, w].
    """

    target: int
    patch: bool
    limit: float
    parts: tuple[Tensor, ...]

    @classmethod
    def start(
        cls, target: int, shape: torch.Size, *, patch: bool, limit: float, generator: torch.Generator
    ) -> "Chaser":
        """Returns a random trigger for images of ``shape`` [3, h, w]."""
        noise = torch.randn(shape, generator=generator)
        if not patch:
            return cls(target, patch, limit, (0.01 * noise,))
        return cls(target, patch, limit, (torch.full(shape[1:], -3.0) + 0.1 * noise[0], 0.5 * noise))

    def to(self, device: torch.device) -> "Chaser":
        """Returns the trigger on ``device``."""
        return Chaser(self.target, self.patch, self.limit, tuple(part.to(device) for part in self.parts))

    def __call__(self, images: Tensor, strength: Tensor | None = None) -> Tensor:
        """Returns ``images`` [n, 3, h, w] with the trigger at ``strength`` [n, 1, 1, 1] (1 by default)."""
        weight = torch.ones((), device=images.device) if strength is None else strength
        if self.patch:
            mask = torch.sigmoid(self.parts[0]) * weight.clamp(max=1)
            return images + mask * (torch.sigmoid(self.parts[1]) - images)
        change = self.parts[0]
        rms = change.square().mean().add(1e-12).sqrt()
        return (images + weight * change * (self.limit / rms).clamp(max=1)).clamp(0, 1)

    def chase(self, model: nn.Module, images: Tensor, steps: int, batch: int, generator: torch.Generator) -> None:
        """Takes ``steps`` gradient steps towards ``target`` on random batches of ``images`` [n, 3, h, w]."""
        parts = tuple(part.detach().clone().requires_grad_() for part in self.parts)
        self.parts = parts
        optimiser = torch.optim.Adam(parts, lr=0.1 if self.patch else 0.01, betas=(0.5, 0.9))
        for _ in range(steps):
            index = torch.randint(len(images), (min(batch, len(images)),), generator=generator)
            logits = model(self(images[index.to(images.device)]))
            goal = torch.full((len(logits),), self.target, device=logits.device)
            loss = F.cross_entropy(logits, goal)
            if self.patch:  # a penalty that starts where the patch gets larger than a patch
                loss = loss + 30 * F.relu(torch.sigmoid(parts[0]).mean() - self.limit)
            gradients = torch.autograd.grad(loss, parts)
            for part, gradient in zip(parts, gradients, strict=True):
                part.grad = gradient
            optimiser.step()
        self.parts = tuple(part.detach() for part in parts)
