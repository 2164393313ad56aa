"""How long work tells how far it is."""

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share done in [0, 1] and a few words about the present step."""


def silent(share: float, step: str) -> None:
    """Ignores progress."""


def span(progress: Progress, start: float, end: float) -> Progress:
    """Returns a progress that maps [0, 1] of a part of the work to [start, end] of the whole.

    >>> seen = []
    >>> span(lambda share, step: seen.append(share), 0.5, 1.0)(0.5, "half of the second half")
    >>> seen
    [0.75]
    """
    return lambda share, step: progress(start + (end - start) * share, step)
