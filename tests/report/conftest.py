import base64
import io
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from PIL import Image

from theriac.finding import (
    Finding,
    Histogram,
    Method,
    Note,
    Picture,
    RankedExamples,
    Subject,
    SuspectedClasses,
    SuspiciousExample,
    Table,
    TriggerEvidence,
)
from theriac.report import AuditReport, CredentialSummary, Reproduction, WrittenFile


def png(colour: str = "red", side: int = 8) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _finding(text: str, kind: str, verdict: str, evidence: list[object], probability: float) -> Finding:
    return Finding(
        subject=Subject(kind=kind, name=f"{kind} {text}", sha256={"model": "a", "data": "b", "input": "c"}[kind] * 64),
        method=Method(name=f"method {text}", version="1", settings={f"setting {text}": f"value {text}", "steps": 300}),
        probability=probability,
        verdict=verdict,
        summary=f"summary of {kind} {text}",
        evidence=evidence,
        not_checked=[f"{kind} gap {text}"],
        seconds=12.5,
        peak_memory=10**8,
        device=f"cpu {text}",
        seed=0,
    )


def _examples(text: str, count: int) -> RankedExamples:
    examples = [
        SuspiciousExample(row=i, score=9.0 - i, label=4, label_name=f"stop {text}", reason=f"why {text}", png=png())
        for i in range(count)
    ]
    return RankedExamples(
        title=f"Suspicious {text}",
        examples=examples,
        estimated_poisoned=count,
        total=500,
        scores_file=f"scores {text}",
    )


def full_report(text: str = "", examples: int = 5) -> AuditReport:
    """Returns a report with every kind of evidence, ``text`` in each of its strings."""
    pictures = [Picture(caption=f"caption {text}", png=png()), Picture(caption=f"broken {text}", png="no picture")]
    model = [
        SuspectedClasses(target=4, target_name=f"stop {text}", sources=[1, 2], reason=f"outlier {text}"),
        TriggerEvidence(
            space=f"mask {text}", target=4, asr=0.984, base_rate=0.031, size=9, unit=f"px {text}", pictures=pictures
        ),
        Table(
            title=f"Anomaly {text}",
            columns=["class", f"anomaly index {text}"],
            rows=[[f"class {i} {text}", float(i)] for i in range(9)] + [[f"stop {text}", 12.0]],
        ),
        Note(text=f"note {text}"),
    ]
    scores = Histogram(
        title=f"Scores {text}",
        axis=f"score {text}",
        edges=[0, 1, 2, 3],
        series={f"usual {text}": [900, 20, 0], f"odd {text}": [0, 1, 9]},
        threshold=1.5,
    )
    comparison = Table(
        title=f"Before and after {text}",
        columns=["measure", "before", "after"],
        rows=[["attack success rate", 0.987, 0.012], [f"clean accuracy {text}", 0.97, 0.96], ["seconds", 3, None]],
    )
    findings = [
        _finding(text, "model", "poisoned", model, 0.995),
        _finding(text, "data", "poisoned", [_examples(text, examples), scores], 0.9),
        _finding(text, "input", "poisoned", [_examples(text, 3), scores], 0.8),
    ]
    return AuditReport(
        system=f"system {text}",
        system_id=f"urn:{text}",
        when=datetime(2026, 3, 14, 9, 26, tzinfo=UTC),
        version="0.1.0",
        subjects=[*(f.subject for f in findings), Subject(kind="data", name=f"unseen {text}", sha256="d" * 64)],
        findings=findings,
        repair=_finding(text, "model", "clean", [Note(text=f"guard {text}"), comparison], 0.04),
        not_checked=[f"nobody looked at {text}"],
        reproduction=Reproduction(
            commands=[f"theriac audit {text}"], seed=0, device=f"cpu {text}", versions={f"torch {text}": f"2 {text}"}
        ),
        credentials=[
            CredentialSummary(
                kind=f"kind {text}",
                about=f"about {text}",
                id=f"id {text}",
                issuer=f"did:key:{i}{text}",
                file=f"f {text}",
                digest="e" * 64,
            )
            for i in range(2)
        ],
        evidence_commands=[f"theriac verify {text}"],
        files=[WrittenFile(path=f"path {text}", what=f"what {text}")],
    )


@pytest.fixture
def make() -> Callable[..., AuditReport]:
    return full_report


@pytest.fixture
def empty() -> AuditReport:
    return AuditReport(
        system="nothing",
        system_id="urn:nothing",
        when=datetime(2026, 3, 14, 9, 26, tzinfo=UTC),
        version="0.1.0",
        reproduction=Reproduction(seed=0, device="cpu"),
    )
