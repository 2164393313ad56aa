"""Mitigations: turn a poisoned model into a repaired one. One method is one file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from theriac.finding import Finding
from theriac.registry import Registry
from theriac.run.budget import Budget
from theriac.run.progress import Progress, silent

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theriac.data.images import ImageData
    from theriac.models.classifier import Classifier


@dataclass(frozen=True)
class Mitigated:
    """A repaired model.

    Attributes:
        model: The repaired model, or the very model that came in when the repair would have done harm.
        finding: About the returned model: did the repair work, what did it cost?
        changed: Whether ``model`` is a new one.
        pre: Applied to inputs [n, 3, h, w] in [0, 1] before the model at test time, if any.
        post: Applied to logits [n, k] after the model at test time, if any.
    """

    model: "Classifier"
    finding: Finding
    changed: bool
    pre: "Callable[[Tensor], Tensor] | None" = None
    post: "Callable[[Tensor], Tensor] | None" = None


class Mitigation(Protocol):
    """Repairs models. Hyper-parameters are the fields of a frozen dataclass."""

    name: ClassVar[str]
    version: ClassVar[str]
    paper: ClassVar[str]

    def mitigate(
        self,
        model: "Classifier",
        clean: "ImageData",
        *,
        budget: Budget,
        generator: "torch.Generator",
        finding: Finding | None = None,
        progress: Progress = silent,
    ) -> Mitigated:
        """Repairs a copy of ``model`` with ``clean`` labelled examples.

        ``finding`` is a model detector's, when there is one: its triggers need not be searched again.
        """
        ...


METHODS = Registry("theriac.mitigations", {"unlearn": "theriac.mitigate.unlearn:Unlearn"})
DEFAULT = "unlearn"
