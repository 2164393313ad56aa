"""Rows of numbers as inputs, and a small network that classifies them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from theriac.errors import Refused
from theriac.files import replacing, sha256_file
from theriac.tasks.files import read_tensors


@dataclass(frozen=True)
class Vectors:
    """Inputs that are rows of numbers.

    Attributes:
        values: float32 [n, d].
        labels: int64 [n]; all 0 where they are not told.
        name: What to call them in findings.
        sha256: Digest of the file that they were read from.
    """

    values: Tensor
    labels: Tensor
    name: str
    sha256: str

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "Vectors":
        return replace(self, values=self.values[index], labels=self.labels[index])

    def batches(self, size: int = 256, device: torch.device | str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """Yields rows [m, d] and labels [m], in order."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.values[part].to(device), self.labels[part].to(device)

    def write(self, path: Path) -> None:
        """Writes rows and labels as safetensors."""
        with replacing(path) as temporary:
            temporary.write_bytes(save({"values": self.values.contiguous(), "labels": self.labels.contiguous()}))

    @classmethod
    def read(cls, path: Path) -> "Vectors":
        """Reads what ``write`` wrote.

        Raises:
            Refused: If it is something else.
        """
        tensors = read_tensors(path)
        values, labels = tensors.get("values"), tensors.get("labels")
        if values is None or labels is None or values.ndim != 2 or labels.shape != values.shape[:1]:
            raise Refused("holds no rows with labels", where=path)
        return cls(values, labels, path.name, sha256_file(path))


class VectorClassifier(nn.Module):
    """A small fully connected classifier of rows of numbers.

    Args:
        width: Numbers in a row.
        classes: Name of each class.
        hidden: Units of each of the two hidden layers.
        name: What to call the model in findings.
    """

    def __init__(self, width: int, classes: tuple[str, ...], hidden: int = 32, name: str = "model") -> None:
        super().__init__()
        self.classes, self.name = classes, name
        self.net = nn.Sequential()
        self.net.add_module("layer1", nn.Sequential(nn.Linear(width, hidden), nn.ReLU()))
        self.net.add_module("layer2", nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU()))
        self.net.add_module("fc", nn.Linear(hidden, len(classes)))

    def forward(self, rows: Tensor) -> Tensor:
        """Returns logits [n, k] of rows [n, width]."""
        logits: Tensor = self.net(rows)
        return logits

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def head(self) -> tuple[str, nn.Module]:
        """Returns name and module of the last layer."""
        return "net.fc", self.net.get_submodule("fc")

    def write(self, path: Path) -> None:
        """Writes the weights as safetensors."""
        with replacing(path) as temporary:
            temporary.write_bytes(save({name: value.contiguous() for name, value in self.net.state_dict().items()}))

    @classmethod
    def read(cls, path: Path, classes: tuple[str, ...]) -> "VectorClassifier":
        """Reads what ``write`` wrote, in evaluation mode.

        Raises:
            Refused: If it is something else.
        """
        tensors = read_tensors(path)
        try:
            hidden, width = tensors["layer1.0.weight"].shape
            model = cls(width, classes, hidden, path.name)
            model.net.load_state_dict(tensors, strict=True)
        except (KeyError, ValueError, RuntimeError) as error:
            what = f"is no network for {len(classes)} classes of vectors: {' '.join(str(error).split())[:200]}"
            raise Refused(what, where=path) from None
        return model.eval()
