"""The verdict of a whole audit in one sentence, and the figures beside it."""

from collections.abc import Iterator
from dataclasses import dataclass

from theriac.finding import Finding, RankedExamples, SuspectedClasses, Table, TriggerEvidence, Verdict
from theriac.report.record import AuditReport
from theriac.report.tables import attack_success, is_comparison
from theriac.report.words import KINDS, NOUNS, WORDS, number, percent, probability, sentence

NOTHING_FOUND = "No poisoning found in what was checked"

_CHANGES = (
    (("mask", "patch"), "a small patch on an image makes"),
    (("perturbation", "universal", "warp", "blend"), "a faint change over the whole image makes"),
    (("colour", "color", "filter"), "a shift of an image’s colours makes"),
)


@dataclass(frozen=True)
class Headline:
    """The verdict of an audit: its word, its sentence, and the sentences that follow."""

    verdict: Verdict
    word: str
    sentence: str
    details: list[str]


@dataclass(frozen=True)
class Figure:
    """A number to look at first, and what it counts."""

    value: str
    label: str


def overall(findings: list[Finding]) -> Verdict:
    """Returns the verdict of several findings together; without any it is inconclusive."""
    verdicts = {f.verdict for f in findings}
    if "poisoned" in verdicts:
        return "poisoned"
    return "inconclusive" if "inconclusive" in verdicts or not findings else "clean"


def verdict_sentence(findings: list[Finding]) -> str:
    """Returns what ``findings`` together say about a system, in one sentence."""
    if not findings:
        return "Nothing was checked in this system."
    verdict = overall(findings)
    if verdict == "poisoned":
        return _accusation(_leading(findings)[0])
    return f"{NOTHING_FOUND}." if verdict == "clean" else "This audit could not decide whether the system is poisoned."


def headline(report: AuditReport) -> Headline:
    """Returns the verdict of ``report`` in words."""
    verdict, said = overall(report.findings), verdict_sentence(report.findings)
    if not report.findings:
        return Headline(verdict, "Not checked", said, [])
    if verdict == "clean":
        details = ["What was not checked is listed below."] if not_checked(report) else []
    else:
        first, *others = (f.summary for f in _leading(report.findings))
        details = others if verdict == "poisoned" else [first, *others]  # the sentence already tells the worst
    return Headline(verdict, WORDS[verdict], said, details + ([report.repair.summary] if report.repair else []))


def _leading(findings: list[Finding]) -> list[Finding]:
    """Returns the findings that decide the verdict: model before data before inputs, the surest first."""
    verdict = overall(findings)
    return sorted((f for f in findings if f.verdict == verdict), key=_importance)


def _importance(finding: Finding) -> tuple[int, float]:
    return list(KINDS).index(finding.subject.kind), -finding.probability


def _accusation(finding: Finding) -> str:
    kind, trigger, target = finding.subject.kind, main_trigger(finding), target_name(finding)
    if kind == "model":
        change = "a hidden trigger makes"
        if trigger:
            space = trigger.space.lower()
            change = next((words for keys, words in _CHANGES if any(key in space for key in keys)), change)
        answer = f"answer “{target}”" if target else "give the attacker’s answer"
        return f"This system is poisoned: {change} the model {answer}."
    counted = next(ranked(finding), None)
    if counted and counted.estimated_poisoned:
        share = f"{number(counted.estimated_poisoned)} of {number(counted.total)}"
        if kind == "data":
            return f"The training data are poisoned: {share} examples look like poison."
        return f"The input stream is under attack: {share} inputs look triggered."
    return "The training data are poisoned." if kind == "data" else "The input stream is under attack."


def main_trigger(finding: Finding) -> TriggerEvidence | None:
    """Returns the first reconstructed trigger that aims at the first suspected class, else the first one, if any."""
    triggers = [e for e in finding.evidence if isinstance(e, TriggerEvidence)]
    suspected = next((e.target for e in finding.evidence if isinstance(e, SuspectedClasses)), None)
    return next((t for t in triggers if t.target == suspected), next(iter(triggers), None))


def target_name(finding: Finding) -> str | None:
    """Returns the name of the class that the main trigger, else the first suspicion, aims at."""
    suspected = [e for e in finding.evidence if isinstance(e, SuspectedClasses)]
    trigger = main_trigger(finding)
    if trigger:
        return next((s.target_name for s in suspected if s.target == trigger.target), f"class {trigger.target}")
    return suspected[0].target_name if suspected else None


def ranked(finding: Finding) -> Iterator[RankedExamples]:
    """Yields the rankings of examples in ``finding``."""
    return (e for e in finding.evidence if isinstance(e, RankedExamples))


def figures(report: AuditReport) -> list[Figure]:
    """Returns at most one figure per question that the audit answered."""
    return [f for f in (_model(report), _trigger(report), *_counts(report), _repair(report)) if f]


def _models(report: AuditReport) -> list[Finding]:
    return sorted((f for f in report.findings if f.subject.kind == "model"), key=lambda f: -f.probability)


def _model(report: AuditReport) -> Figure | None:
    worst = next(iter(_models(report)), None)
    return Figure(probability(worst.probability), "probability that the model is poisoned") if worst else None


def _trigger(report: AuditReport) -> Figure | None:
    for finding in _models(report):
        trigger = main_trigger(finding)
        if trigger and finding.verdict == "poisoned":
            label = f"of clean images turn into “{target_name(finding)}” under the reconstructed trigger"
            return Figure(percent(trigger.asr), f"{label} ({percent(trigger.base_rate)} without it)")
    return None


def _counts(report: AuditReport) -> Iterator[Figure]:
    for kind, noun in (("data", "training images look like poison"), ("input", "inputs look triggered")):
        found = (r for f in report.findings if f.subject.kind == kind for r in ranked(f))
        if counted := next(found, None):
            yield Figure(number(counted.estimated_poisoned), f"of {number(counted.total)} {noun}")


def _repair(report: AuditReport) -> Figure | None:
    table = comparison(report)
    measured = attack_success(table) if table else None
    if measured is None:
        return None
    measure, before, after = measured
    return Figure(f"{percent(before)} →\N{NO-BREAK SPACE}{percent(after)}", f"{measure}, before and after the repair")


def comparison(report: AuditReport) -> Table | None:
    """Returns the table of what the repair changed: the report's own, else the repair's finding's."""
    if report.repair_table or not report.repair:
        return report.repair_table
    tables = (e for e in report.repair.evidence if isinstance(e, Table))
    return next((t for t in tables if is_comparison(t)), None)


def not_checked(report: AuditReport) -> list[tuple[str, list[str]]]:
    """Returns (who says so, what was not checked), the audit's own first; subjects that no method saw are added."""
    findings = [*report.findings, *([report.repair] if report.repair else [])]
    seen = {(f.subject.kind, f.subject.sha256) for f in findings}
    unseen = [
        f"No method looked at the {NOUNS[s.kind]} “{s.name}”."
        for s in report.subjects
        if (s.kind, s.sha256) not in seen
    ]
    groups = [("This audit", [*report.not_checked, *unseen])]
    groups += [(f"{f.method.name}, on {f.subject.name}", f.not_checked) for f in findings]
    return [(who, list(dict.fromkeys(map(sentence, items)))) for who, items in groups if items]
