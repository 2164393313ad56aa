"""An answer in a word and a sentence, never stronger than the answer itself."""

from dataclasses import dataclass
from typing import Literal

from theriac.provenance.query import Answer

Tone = Literal["poisoned", "clean", "inconclusive", "plain"]
_WORDS = {"poisoning": "Poisoned", "pollution": "Polluted", "bias": "Biased"}


@dataclass(frozen=True)
class Verdict:
    """What the page says first: a word, a sentence, and how it looks."""

    tone: Tone
    word: str
    sentence: str


def verdict_of(answer: Answer) -> Verdict:
    """Returns the verdict on an answer.

    "Clean" is no verdict on poisoning: that nobody claims anything does not show that there is nothing.
    """
    if isinstance(answer.answer, list):
        return _listed(answer, len(answer.answer))
    counted = sum(claim.accepted for claim in answer.attestations)
    claims = f"{counted} claim{'' if counted == 1 else 's'}"
    matter = answer.query.removeprefix("data-")
    if matter in _WORDS:
        return _evidence(answer, matter, claims)
    if answer.query in ("inference-vulnerabilities", "training-vulnerabilities"):
        if answer.alarming:
            return Verdict("poisoned", "Vulnerable", f"{claims} of a known vulnerability.")
        return _nothing(answer, "No claim of a vulnerability")
    if answer.query in ("best-practice", "functional-performance"):
        if counted:
            return Verdict("plain", "Claims", f"{claims} about it{_but_broken(answer)}.")
        return _nothing(answer, "No claim about it that counts")
    if answer.answer is True:
        return Verdict("clean", "Yes", f"So the credentials say{_but_broken(answer)}.")
    if answer.alarming or answer.mode == "taibom":
        return Verdict("poisoned", "No", "The credentials say otherwise.")
    return Verdict("inconclusive", "Nobody can tell", "The chain of credentials is incomplete.")


def _listed(answer: Answer, number: int) -> Verdict:
    what = "system" if answer.query == "systems-using" else "data set"
    count = f"{number:,} {what}{'' if number == 1 else 's'}"
    if not answer.complete:
        return Verdict("inconclusive", count, "There may be more: the chain of credentials is incomplete.")
    if answer.query == "systems-using":
        return Verdict("plain", count, f"{'Came' if number else 'Known to come'} of it, directly or through others.")
    return Verdict("plain", count, "That is all that the credentials name.")


def _evidence(answer: Answer, matter: str, claims: str) -> Verdict:
    if answer.alarming:
        counts = "count" if claims.endswith("s") else "counts"
        said = f"{claims} of {matter} {counts}{_but_broken(answer)}.{_unproven(answer)}"
        return Verdict("poisoned", _WORDS[matter], said)
    return _nothing(answer, f"No claim of {matter} that counts")


def _unproven(answer: Answer) -> str:
    """Says how many of the claims that count nobody has to stand by."""
    counted = [claim for claim in answer.attestations if claim.accepted]
    weak = sum(claim.profile != "w3c" for claim in counted)
    if not weak:
        return ""
    which = ("It is", "it") if len(counted) == 1 else (f"{weak} of them are", "these")
    return f" {which[0]} unsigned or weakly signed: anybody can have written {which[1]}."


def _nothing(answer: Answer, said: str) -> Verdict:
    if answer.mode == "taibom":
        what = f"{said}. TAIBOM's rules do not tell whether the chain is complete."
        return Verdict("inconclusive", "No evidence", what)
    if not answer.complete:
        return Verdict("inconclusive", "Incomplete", f"{said}, but the chain is incomplete: nobody can tell.")
    return Verdict("plain", "No evidence", f"{said}, and the chain of credentials is complete.")


def _but_broken(answer: Answer) -> str:
    return "" if answer.complete else "; the chain is incomplete"
