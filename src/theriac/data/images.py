"""The one in-memory form of labelled images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theriac.data.prefetching import moved
from theriac.errors import UserError


@dataclass(frozen=True)
class ImageData:
    """Labelled images, all of one size.

    Attributes:
        images: uint8 tensor [n, 3, h, w].
        labels: int64 tensor [n], each in ``range(len(classes))``.
        classes: Name of each class.
        name: What to call the data in findings.
        sha256: Digest of the file or folder that the images were read from.

    Raises:
        UserError: If shapes, types or labels do not fit together.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    sha256: str

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            raise UserError(f"images must be uint8 [n, 3, h, w], got {self.images.dtype} {list(self.images.shape)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise UserError(f"{len(self.images)} images but labels of shape {list(self.labels.shape)}", where=self.name)
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            worst = int(self.labels.max()) if int(self.labels.min()) >= 0 else int(self.labels.min())
            raise UserError(f"label {worst} is outside the {len(self.classes)} classes", where=self.name)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "ImageData":
        """Returns the rows at ``index`` (a slice, or an integer or boolean tensor)."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def pixels(self, index: Tensor | slice = slice(None), device: torch.device | str = "cpu") -> Tensor:
        """Returns images as float32 [m, 3, h, w] in [0, 1] on ``device``."""
        return self.images[index].to(device).float() / 255

    def batches(self, size: int = 256, device: torch.device | str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """Yields pixels [m, 3, h, w] in [0, 1] and labels [m], in order, moved as bytes and loaded ahead."""
        parts = (slice(start, start + size) for start in range(0, len(self), size))
        for images, labels in moved(((self.images[part], self.labels[part]) for part in parts), device):
            yield images.float() / 255, labels

    def class_number(self, name: str) -> int:
        """Returns the number of the class called ``name``, or the number that ``name`` spells.

        Raises:
            UserError: If there is no such class.
        """
        if name in self.classes:
            return self.classes.index(name)
        if name.isascii() and name.isdigit() and int(name) < len(self.classes):
            return int(name)
        shown = f"{', '.join(self.classes[:8])}{' …' if len(self.classes) > 8 else ''}"
        raise UserError(f"no class {name!r}", where=self.name, do=f"use a number below {len(self.classes)} or: {shown}")

    def per_class(self, count: int, generator: torch.Generator) -> "ImageData":
        """Returns up to ``count`` random rows of each class, in row order."""
        order = torch.randperm(len(self), generator=generator)
        picks = [order[self.labels[order] == c][:count] for c in range(len(self.classes))]
        return self[torch.cat(picks).sort().values]
