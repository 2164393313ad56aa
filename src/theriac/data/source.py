"""What is asked of a data set, and what its format's reader hands back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from theriac.data.decoding import Encoded
from theriac.errors import UserError

IMAGE_NAMES = ("image", "img", "images", "picture", "jpg", "jpeg", "png", "webp")
PATH_NAMES = ("path", "file_name", "filename", "file", "filepath", "image", "img")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev")


@dataclass(frozen=True)
class Selection:
    """What to read.

    Attributes:
        label: Column (or array) of the labels; found by its name or type when None.
        image: Column (or array) of the images; found by its name or type when None.
        limit: How many rows to read, from the first on; all when None.
        unlabelled_ok: Whether data without labels are welcome.
    """

    label: str | None = None
    image: str | None = None
    limit: int | None = None
    unlabelled_ok: bool = False

    def image_column(self, columns: Sequence[str], likely: Sequence[str], where: Path) -> str:
        """Returns the column of the images: the one asked for, or else the first of the ``likely`` ones.

        Raises:
            UserError: If it is absent, or none is likely.
        """
        return _pick(columns, self.image, likely, "image", where)

    def label_column(self, columns: Sequence[str], likely: Sequence[str], where: Path) -> str | None:
        """Returns the column of the labels in the same way; None for unlabelled data, where they are welcome."""
        if self.unlabelled_ok and self.label is None and not set(likely) & set(columns):
            return None
        return _pick(columns, self.label, likely, "label", where)


@dataclass(frozen=True)
class Source:
    """Images with labels, as stored.

    Attributes:
        pictures: Encoded pictures in the order of the source, read only when iterated; or uint8 [n, 3, h, w].
        count: How many there are.
        labels: One per picture, as stored; None for unlabelled data.
        classes: Class names, where the format knows them.
        files: What the digest is taken over, where that is more than the path itself.
    """

    pictures: Iterator[Encoded] | Tensor
    count: int
    labels: Sequence[object] | None
    classes: Sequence[str] | None = None
    files: Sequence[Path] | None = None


def _pick(columns: Sequence[str], wanted: str | None, likely: Sequence[str], what: str, where: str | Path) -> str:
    name = wanted if wanted is not None else next((name for name in likely if name in columns), None)
    if name is None or name not in columns:
        problem = f"cannot tell which column holds the {what}s" if name is None else f"no column {name!r}"
        raise UserError(problem, where=where, do=f"choose the {what} column from: {', '.join(columns)}")
    return name
