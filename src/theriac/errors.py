"""What goes wrong, in words that a user can act on."""

from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What a command's exit status says."""

    NOTHING = 0
    FOUND = 1
    BAD_INPUT = 2
    INCONCLUSIVE = 3


class TheriacError(Exception):
    """Base of every error that theriac raises on purpose."""


class UserError(TheriacError):
    """Bad input or usage. The command line prints it as one line and exits with 2.

    Args:
        what: What is wrong.
        where: The file, row, field or option it was found in.
        do: What the user can do about it.

    >>> print(UserError("no column 'label'", where="train.parquet", do="name one of: img, y"))
    train.parquet: no column 'label'; name one of: img, y
    """

    def __init__(self, what: str, *, where: str | Path | None = None, do: str | None = None) -> None:
        self.what, self.where, self.do = what, where, do
        prefix = "" if where is None else f"{where}: "
        suffix = "" if do is None else f"; {do}"
        super().__init__(" ".join(f"{prefix}{what}{suffix}".split()))


class Inapplicable(UserError):
    """A method that this kind of model or data is not for; another choice of settings would not help."""


class Refused(UserError):
    """A file that theriac will not open because it is, or may be, hostile."""
