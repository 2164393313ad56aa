"""Points in space as the inputs of a model that passes them on, so that a method's numbers can be worked out apart."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from theriac.detect.inputs.observing import Observations


class Passing(nn.Module):
    """Gives an input to the class in its first column; the layer ``rest`` passes on the others."""

    name = "passing"

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first, self.rest = nn.Identity(), nn.Identity()
        self.classes = tuple(map(str, range(classes)))
        self.device = torch.device("cpu")

    def head(self):
        return "first", self.first

    def forward(self, inputs):
        self.rest(inputs[:, 1:])
        return self.first(nn.functional.one_hot(inputs[:, 0].long(), len(self.classes)).float())


@dataclass(frozen=True)
class Points:
    """Rows [n, 1 + width], the class first."""

    rows: Tensor
    name: str = "points"
    sha256: str = "0" * 64

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return replace(self, rows=self.rows[index])

    def batches(self, size=256, device="cpu"):
        for part in self.rows.split(size):
            yield part, part[:, 0].long()


@pytest.fixture
def observed():
    """Returns a function from rows [n, width] (or maps) and classes [n] to observations of the layer ``rest``."""

    def observed(rows: Tensor, classes: Tensor, layer: str = "rest") -> Observations:
        flat = torch.cat([classes[:, None].to(rows), rows], 1)
        return Observations(Passing(max(2, int(classes.max()) + 1)), Points(flat), (layer,))

    return observed
