"""Turning scores of rows into evidence that people can look at.

Numbers are rounded: the last digits of a float depend on where in memory the processor found its operands, and two runs
with one seed must give the same finding.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from theriac.detect import Scores
from theriac.finding import Histogram, RankedExamples, SuspiciousExample

SHOWN = 24
"""How many of the worst examples a finding shows."""


def thumbnail(image: Tensor, side: int = 64) -> str:
    """Returns ``image`` (uint8 [3, h, w]) as a base64-encoded PNG of at most ``side`` pixels a side.

    >>> thumbnail(torch.zeros(3, 8, 8, dtype=torch.uint8))[:8]
    'iVBORw0K'
    """
    picture = Image.fromarray(image.cpu().permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((side, side))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def ranked(
    title: str, images: Tensor, labels: Tensor, classes: Sequence[str], scores: Scores, shown: int = SHOWN
) -> RankedExamples:
    """Returns the ``shown`` worst of ``images`` (uint8 [n, 3, h, w]) of the classes ``labels`` [n], with pictures."""
    order = scores.values.argsort(descending=True, stable=True)[:shown].tolist()
    return RankedExamples(
        title=title,
        examples=[
            SuspiciousExample(
                row=row,
                score=round(float(scores.values[row]), 3),
                label=int(labels[row]),
                label_name=classes[int(labels[row])],
                reason=scores.reasons[row],
                png=thumbnail(images[row]),
            )
            for row in order
        ],
        estimated_poisoned=int(scores.suspected.sum()),
        total=len(images),
    )


def histogram(
    title: str, axis: str, series: Mapping[str, Tensor], *, threshold: float | None = None, bins: int = 40
) -> Histogram:
    """Returns counts of the values of each series over common bins; empty series stay out.

    >>> histogram("t", "a", {"all": torch.tensor([0.0, 0.1, 4.0])}, bins=2).series
    {'all': [2, 1]}
    """
    present = {name: values.double().cpu() for name, values in series.items() if len(values)}
    everything = torch.cat(list(present.values())) if present else torch.zeros(1, dtype=torch.float64)
    low, high = math.floor(1e3 * float(everything.min())) / 1e3, math.ceil(1e3 * float(everything.max())) / 1e3
    edges = torch.linspace(low, high if high > low else low + 1, bins + 1, dtype=torch.float64).round(decimals=6)
    inner = edges[1:-1].contiguous()
    counts = {
        name: torch.bincount(torch.bucketize(values, inner, right=True), minlength=bins).tolist()
        for name, values in present.items()
    }
    shown = None if threshold is None else round(threshold, 4)
    return Histogram(title=title, axis=axis, edges=edges.tolist(), series=counts, threshold=shown)
