"""Numbers, names and verdicts as people read them."""

import unicodedata

from theriac.finding import Verdict

WORDS: dict[Verdict, str] = {
    "poisoned": "Poisoned",
    "clean": "Nothing found",
    "inconclusive": "Inconclusive",
}
"""What a verdict is called. "Clean" would promise more than a scan can know."""

REPAIR_WORDS: dict[Verdict, str] = {
    "poisoned": "Not repaired",
    "clean": "Repaired",
    "inconclusive": "Repair uncertain",
}

KINDS = {"model": "Model", "data": "Training data", "input": "Input stream"}
"""What was scanned."""

NOUNS = {"model": "model", "data": "data set", "input": "input stream"}
"""What a subject is, whether or not it was scanned."""


def visible(text: str) -> str:
    """Returns ``text`` with control and direction-changing characters spelled out, so that no name can fake another.

    >>> visible("stop" + chr(0x202E) + "gpj" + chr(27) + "[31m")
    'stop<U+202E>gpj<U+001B>[31m'
    """
    return "".join(c if _harmless(c) else f"<U+{ord(c):04X}>" for c in text)


def _harmless(character: str) -> bool:
    return character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def sentence(text: str) -> str:
    """Returns ``text`` with a capital first letter.

    >>> sentence("live inputs: none were given")
    'Live inputs: none were given'
    """
    return text[:1].upper() + text[1:]


def percent(share: float) -> str:
    """Returns a share in [0, 1] as a percentage that never rounds "nearly all" up to "all".

    >>> [percent(s)[:-2] for s in (0.5, 0.987, 0.99999, 0.0001, 1.0, 0.0)]
    ['50', '98.7', '>99.9', '<0.1', '100', '0']
    """
    value = 100 * share
    if 99.9 < value < 100:
        text = ">99.9"
    elif 0 < value < 0.1:
        text = "<0.1"
    else:
        text = f"{value:.1f}".removesuffix(".0")
    return text + "\N{NARROW NO-BREAK SPACE}%"


def probability(value: float) -> str:
    """Returns a probability with two decimals, without claiming certainty.

    >>> [probability(p) for p in (0.5, 0.999, 0.0004)]
    ['0.50', '>0.99', '<0.01']
    """
    if value > 0.99:
        return ">0.99"
    return "<0.01" if value < 0.01 else f"{value:.2f}"


def number(value: float | int) -> str:
    r"""Returns a number with four significant digits, or whole with thin spaces between thousands.

    >>> [number(v) for v in (3.14159, 12345, 0.00001234, 2.0)]
    ['3.142', '12\u202f345', '1.234e-05', '2']
    """
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        whole = f"{int(value):,}"
        return whole.replace(",", "\N{NARROW NO-BREAK SPACE}" if abs(value) >= 10_000 else "")
    return f"{value:.4g}"


def seconds(value: float) -> str:
    """Returns a duration in the largest fitting unit.

    >>> [seconds(s) for s in (0.25, 42.0, 600.0, 7300.0)]
    ['0.2 s', '42 s', '10 min', '2.0 h']
    """
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def size(count: int) -> str:
    """Returns a number of bytes in the largest fitting unit.

    >>> [size(n) for n in (512, 3_000_000, 2_500_000_000)]
    ['512 B', '3.0 MB', '2.5 GB']
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def is_share(label: str) -> bool:
    """Whether a measure's name says that it is a share in [0, 1].

    >>> is_share("clean accuracy"), is_share("ASR of the trigger"), is_share("seconds")
    (True, True, False)
    """
    words = label.lower()
    return any(word in words for word in ("accuracy", "asr", "attack success", "rate", "share", "probability"))
