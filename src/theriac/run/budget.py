"""A budget of wall-clock seconds that methods honour."""

import re
import resource
import time
from dataclasses import dataclass, field

from theriac.errors import UserError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Returns the seconds in ``text``, for instance ``"90"``, ``"45s"``, ``"10m"`` or ``"1.5h"``.

    Raises:
        UserError: If the text is not a positive duration.

    >>> parse_duration("10m")
    600.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if found is None or float(found[1]) <= 0:
        raise UserError(f"{text!r} is not a duration", where="--budget", do="write for instance 90s, 10m or 1h")
    return float(found[1]) * _UNITS[found[2]]


@dataclass
class Budget:
    """Counts down ``seconds`` of wall-clock time from its creation; ``None`` never runs out."""

    seconds: float | None = None
    _start: float = field(default_factory=time.monotonic, repr=False)

    def spent(self) -> float:
        """Returns the seconds since the start."""
        return time.monotonic() - self._start

    def remaining(self) -> float:
        """Returns the seconds left, at least 0; infinity without a limit."""
        return float("inf") if self.seconds is None else max(0.0, self.seconds - self.spent())

    @property
    def expired(self) -> bool:
        """Whether the time is up."""
        return self.remaining() <= 0

    def part(self, share: float) -> "Budget":
        """Returns a budget over ``share`` in (0, 1] of what is left, starting now."""
        return Budget(None if self.seconds is None else self.remaining() * share)


def peak_memory() -> int:
    """Returns the largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
