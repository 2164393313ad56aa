"""From what a repair did to a finding about the model that it returns."""

from dataclasses import dataclass
from typing import Any

from theriac.data.images import ImageData
from theriac.finding import Evidence, Finding, Method, Note, Subject, Table, TriggerEvidence, verdict_of
from theriac.models.classifier import Classifier
from theriac.run.budget import Budget, peak_memory


@dataclass(frozen=True)
class Rates:
    """Shares measured on held-out clean examples.

    Attributes:
        accuracy: Of the examples as they are.
        asr: Of the worst reconstructed trigger.
        base_rate: Of the same examples without it.
    """

    accuracy: float
    asr: float
    base_rate: float


@dataclass(frozen=True)
class Outcome:
    """What a mitigation did.

    Attributes:
        model: The model that came in.
        clean: The clean examples.
        finding: The model detector's finding.
        settings: The mitigation's hyper-parameters.
        changed: Whether another model is returned.
        seed: Of the generator.
        started: Seconds of the budget that were spent before.
        before, after: Rates of the model that came in and of the one that is returned; None if nothing was tried.
        steps: Gradient steps taken.
        fresh_asr: ASR of small triggers newly searched for in the returned model.
    """

    model: Classifier
    clean: ImageData
    finding: Finding
    settings: dict[str, Any]
    changed: bool
    seed: int
    started: float = 0.0
    before: Rates | None = None
    after: Rates | None = None
    steps: int = 0
    fresh_asr: float = 0.0


def report(outcome: Outcome, method: Any, budget: Budget) -> Finding:
    """Returns the finding about the returned model; its subject's digest is that of the model that came in."""
    probability, summary = _judged(outcome)
    not_checked = ["triggers of other kinds than those reconstructed and searched for"]
    if outcome.before is not None and outcome.steps < outcome.settings.get("steps", 0):
        not_checked.insert(0, f"the budget ended after {outcome.steps} of {outcome.settings['steps']} steps")
    return Finding(
        subject=Subject(kind="model", name=outcome.model.name, sha256=outcome.model.sha256),
        method=Method(name=method.name, version=method.version, settings=outcome.settings),
        probability=probability,
        verdict=verdict_of(probability),
        summary=summary,
        evidence=_evidence(outcome),
        not_checked=not_checked,
        seconds=budget.spent() - outcome.started,
        peak_memory=peak_memory(),
        device=str(outcome.model.device),
        seed=outcome.seed,
    )


def _judged(outcome: Outcome) -> tuple[float, str]:
    """Returns P(the returned model is poisoned) and one sentence."""
    known, before, after = outcome.finding.probability, outcome.before, outcome.after
    if before is None or after is None:
        if outcome.finding.verdict == "clean":
            return known, "No repair was needed: the model was found clean, and it is returned as it is."
        return known, "Nothing was repaired: no reconstructed trigger is known to unlearn."
    if not outcome.changed:
        return (
            known,
            "The original is returned: every repair that was tried kept the trigger or lost too much accuracy.",
        )
    words = f"ASR of the reconstructed trigger {before.asr:.1%} → {after.asr:.1%}"
    accuracy = f"clean accuracy {before.accuracy:.1%} → {after.accuracy:.1%}"
    left = max(after.asr - after.base_rate, 0.0)
    return round(min(1.0, 0.05 + left), 4), f"Repaired: {words}; {accuracy}."


def _evidence(outcome: Outcome) -> list[Evidence]:
    before, after = outcome.before, outcome.after
    if before is None or after is None:
        return [Note(text=f"The model detector said: {outcome.finding.summary}")]
    rows: list[list[str | float | int | None]] = [
        ["clean accuracy", round(before.accuracy, 4), round(after.accuracy, 4)],
        ["ASR of the reconstructed trigger", round(before.asr, 4), round(after.asr, 4)],
        ["base rate of its target", round(before.base_rate, 4), round(after.base_rate, 4)],
    ]
    targets = sorted({e.target for e in outcome.finding.evidence if isinstance(e, TriggerEvidence)})
    names = ", ".join(outcome.model.classes[target] for target in targets)
    return [
        Table(title="Before and after the repair", columns=["on held-out examples", "before", "after"], rows=rows),
        Note(text=f"A small trigger newly searched for in the returned model reaches {outcome.fresh_asr:.0%} ASR."),
        Note(text=f"Unlearnt: triggers towards {names}, in {outcome.steps} steps."),
    ]
