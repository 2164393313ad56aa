"""Labels as they are stored, to class numbers and class names."""

from collections.abc import Sequence

import torch
from torch import Tensor

from theriac.errors import UserError

LABEL_NAMES = ("label", "labels", "class", "target", "y", "fine_label", "category")
MOST_CLASSES = 100_000
ANOTHER_COLUMN = "choose another label column"


def to_numbers(values: Sequence[object], classes: Sequence[str] | None, where: str) -> tuple[Tensor, tuple[str, ...]]:
    """Returns class numbers (int64 [n]) and class names of labels that are all integers or all text.

    Text is a name of ``classes``; without ``classes``, text that reads as integers is integers, and any other text
    makes the sorted class names. Integers without ``classes`` are their own names.

    Raises:
        UserError: If a label is missing, neither integer nor text, or outside the classes.

    >>> to_numbers(["cat", "ant", "cat"], None, "data.csv")
    (tensor([1, 0, 1]), ('ant', 'cat'))
    """
    for row, value in enumerate(values):
        if value is None or value == "":
            raise UserError("the label is missing", where=f"{where}, row {row}", do=ANOTHER_COLUMN)
        if isinstance(value, bool) or not isinstance(value, int | str):
            what = f"the label {value!r} is neither integer nor text"
            raise UserError(what, where=f"{where}, row {row}", do=ANOTHER_COLUMN)
    texts = [str(value) for value in values]
    ordered = tuple(classes or sorted(set(texts)))
    names = {text: number for number, text in enumerate(ordered)}
    all_names = all(isinstance(value, str) for value in values) and set(texts) <= set(names)
    if not all_names or (classes is None and all(map(_is_integer, texts))):
        return _from_integers(texts, classes, where)
    return torch.tensor([names[text] for text in texts], dtype=torch.int64), ordered


def _from_integers(texts: Sequence[str], classes: Sequence[str] | None, where: str) -> tuple[Tensor, tuple[str, ...]]:
    limit = len(classes) if classes else MOST_CLASSES
    for row, text in enumerate(texts):
        if not _is_integer(text) or not 0 <= int(text) < limit:
            what = f"label {text[:40]!r} is not one of the {limit} classes" if classes else f"{text[:40]!r} is no class"
            raise UserError(what, where=f"{where}, row {row}", do=ANOTHER_COLUMN)
    numbers = torch.tensor([int(text) for text in texts], dtype=torch.int64)
    return numbers, tuple(classes) if classes else tuple(str(k) for k in range(int(numbers.max()) + 1))


def _is_integer(text: str) -> bool:
    return len(text) < 20 and text.isascii() and text.removeprefix("-").isdigit()
