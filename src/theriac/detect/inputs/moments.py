"""What covariance methods learn of trusted and of untrusted inputs, layer by layer, in one pass each."""

from dataclasses import dataclass

import torch
from torch import Tensor

from theriac.detect.inputs.observing import Observations
from theriac.detect.shrinkage import Shrinkage, Whitening, white, whitening_of
from theriac.detect.sketch import Spectrum, full_spectrum, sketched_spectrum
from theriac.detect.statistics import ClassMoments

WIDE = 4096
"""Layers with more features are sketched: a covariance of so many takes 128 MB."""

SKETCH = 512
"""Columns of a sketch; half as many directions are kept."""

LARGEST_APART = 1 << 25
"""Numbers in the covariances of all classes together, beyond which they are sketched (256 MB)."""

SKETCH_APART = 64
"""Columns of each class's sketch."""


@dataclass(frozen=True)
class Usual:
    """What trusted inputs look like in one layer.

    Attributes:
        means: [classes or 1, width] float32; a class that no trusted input is given to has the mean of all.
        whitening: Makes what remains white.
        weight: Of ``trace/d I`` in the covariance.
    """

    means: Tensor
    whitening: Whitening
    weight: float


def moments_by_layer(observations: Observations, *, conditional: bool) -> dict[str, ClassMoments]:
    """Returns the moments of each layer's rows, of each predicted class if ``conditional``."""
    classes = classes_of(observations.model) if conditional else 1
    moments: dict[str, ClassMoments] = {}
    for seen in observations:
        for layer, rows in seen.rows.items():
            if layer not in moments:
                moments[layer] = ClassMoments(classes, rows.shape[1], rows.device, rank=_rank(rows.shape[1]))
            moments[layer].update(rows, seen.predicted if conditional else None)
    return moments


def apart_by_layer(observations: Observations) -> dict[str, ClassMoments]:
    """Returns the moments of each layer's rows with a covariance of each predicted class."""
    classes = classes_of(observations.model)
    moments: dict[str, ClassMoments] = {}
    for seen in observations:
        for layer, rows in seen.rows.items():
            if layer not in moments:
                moments[layer] = _apart(classes, rows)
            moments[layer].update(rows, seen.predicted)
    return moments


def whitened_by_layer(observations: Observations, usual: dict[str, Usual], *, apart: bool) -> dict[str, ClassMoments]:
    """Returns the moments of each layer's rows made white by what is ``usual`` there, each class ``apart`` or not."""
    classes = classes_of(observations.model)
    moments: dict[str, ClassMoments] = {}
    for seen in observations:
        for layer, rows in seen.rows.items():
            known = usual[layer]
            rows = white(deviations(rows, known.means, seen.predicted), known.whitening)
            if layer not in moments:
                rank = _rank(rows.shape[1])
                moments[layer] = (
                    _apart(classes, rows) if apart else ClassMoments(1, rows.shape[1], rows.device, rank=rank)
                )
            moments[layer].update(rows, seen.predicted if apart else None)
    return moments


def usual_of(moments: ClassMoments, shrinkage: Shrinkage, *, residual: bool = False) -> Usual:
    """Returns what the rows of ``moments`` look like; ``residual`` as in :func:`whitening_of`."""
    whitening, weight = whitening_of(moments, shrinkage, residual=residual)
    return Usual(class_means(moments), whitening, weight)


def class_means(moments: ClassMoments) -> Tensor:
    """Returns the means of the classes [classes, width], float32; a class without rows has that of all."""
    counts, means = moments.counts[:, None], moments.means
    every = (counts * means).sum(0) / counts.sum().clamp(min=1)
    return torch.where(counts > 0, means, every).float()


def spectra(moments: ClassMoments, *, keep: int | None, prior: float) -> list[Spectrum]:
    """Returns the first ``keep`` eigenvectors of the covariance of each class kept apart, or else of all.

    Args:
        moments: Of any number of rows of each class.
        keep: How many.
        prior: The covariance of all counts as much as this many rows of the class; a class without rows has it anyway.
    """
    counts = moments.counts if moments.apart else moments.counts.sum()[None]
    squares = moments.squares if moments.apart else moments.squares.sum()[None]
    scatter = moments.scatter if moments.apart else moments.scatter[None]
    total = counts.sum().clamp(min=1)
    found = []
    for n, square, own in zip(counts, squares, scatter, strict=True):
        lean = max(prior, 1e-9)
        covariance = (own + scatter.sum(0) * (lean / total)) / (n + lean)
        trace = float((square + squares.sum() * (lean / total)) / (n + lean))
        if moments.random is None:
            found.append(full_spectrum(covariance, keep))
        else:
            found.append(sketched_spectrum(covariance, moments.random, trace, keep))
    return found


def deviations(rows: Tensor, means: Tensor, predicted: Tensor) -> Tensor:
    """Returns ``rows`` [b, d] less the mean of the class that each is given to, or of all if there is one mean."""
    return rows - (means if len(means) == 1 else means[predicted])


def classes_of(model: object) -> int:
    """Returns how many classes the model tells apart: 1 if it does not classify."""
    return max(1, len(getattr(model, "classes", ())))


def _rank(width: int) -> int | None:
    return SKETCH if width > WIDE else None


def _apart(classes: int, rows: Tensor) -> ClassMoments:
    width = rows.shape[1]
    rank = SKETCH_APART if classes * width**2 > LARGEST_APART else None
    return ClassMoments(classes, width, rows.device, apart=True, rank=rank)
