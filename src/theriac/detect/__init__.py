"""Detectors of poisoning: in models, in training data, in live inputs. One method is one file.

A method sees the defender's view only: the model, clean examples, the data under suspicion. Higher scores are more
suspicious.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from theriac.finding import Finding
from theriac.run.budget import Budget
from theriac.run.progress import Progress, silent

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theriac.data.images import ImageData
    from theriac.models.classifier import Classifier


@dataclass(frozen=True)
class Scores:
    """One suspicion score per row of a data set.

    Attributes:
        values: float64 tensor [n]; higher is more suspicious.
        suspected: bool tensor [n]; the rows that the method itself would remove.
        reasons: One short sentence per row; empty for rows that are not suspicious.
    """

    values: "Tensor"
    suspected: "Tensor"
    reasons: list[str]


@dataclass(frozen=True)
class DataScan:
    """What a data detector returns: the record, and the scores of every row."""

    finding: Finding
    scores: Scores


class ModelDetector(Protocol):
    """Says whether a model is poisoned. Hyper-parameters are the fields of a frozen dataclass."""

    name: ClassVar[str]
    version: ClassVar[str]
    paper: ClassVar[str]

    def scan(
        self,
        model: "Classifier",
        clean: "ImageData",
        *,
        budget: Budget,
        generator: "torch.Generator",
        progress: Progress = silent,
    ) -> Finding:
        """Scans ``model`` with the help of ``clean`` labelled examples. ``generator`` is a CPU generator."""
        ...


class DataDetector(Protocol):
    """Says which training examples are poison. Hyper-parameters are the fields of a frozen dataclass."""

    name: ClassVar[str]
    version: ClassVar[str]
    paper: ClassVar[str]

    def scan(
        self,
        model: "Classifier | None",
        data: "ImageData",
        *,
        budget: Budget,
        generator: "torch.Generator",
        progress: Progress = silent,
    ) -> DataScan:
        """Scores every row of ``data`` by what ``model``, trained on it, makes of it."""
        ...


class InputDetector(Protocol):
    """Says which inputs are anomalous inside a model. Learned state ends in ``_``."""

    name: ClassVar[str]
    version: ClassVar[str]
    paper: ClassVar[str]

    def fit(self, model: "Classifier", trusted: "ImageData", untrusted: "ImageData | None" = None) -> Self:
        """Learns what is usual inside ``model`` from ``trusted`` inputs."""
        ...

    def score(self, inputs: "Tensor") -> "Mapping[str, Tensor]":
        """Returns layer -> scores [b] of ``inputs`` [b, 3, h, w] in [0, 1]."""
        ...

    def aggregate(self, scores: "Mapping[str, Tensor]") -> "Tensor":
        """Combines the layers' scores into one [b]; comparable with the fitted ``threshold_``."""
        ...

    def scan(
        self, inputs: "ImageData", *, budget: Budget, generator: "torch.Generator", progress: Progress = silent
    ) -> DataScan:
        """Scores a recorded stream of inputs with the fitted detector."""
        ...
