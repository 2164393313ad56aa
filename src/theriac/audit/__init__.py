"""The main job: a system in; findings, a repaired model, signed evidence and a report out."""

from dataclasses import dataclass
from pathlib import Path

from theriac.audit.evidence import sign
from theriac.audit.examine import Outcome, Plan, examine, open_system
from theriac.audit.page import audit_report
from theriac.errors import ExitCode
from theriac.finding import exit_code
from theriac.report import write_report
from theriac.run.budget import Budget
from theriac.run.device import pick_device
from theriac.run.progress import Progress, silent, span
from theriac.system import System

__all__ = ["Audit", "Plan", "audit"]


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        outcome: Findings, repair, and what was not checked.
        system_id: Id of the system's credential; what to query the store for.
        store: The store of credentials.
        report: The HTML report.
        credentials: The credential files.
    """

    outcome: Outcome
    system_id: str
    store: Path
    report: Path
    credentials: list[Path]

    @property
    def status(self) -> ExitCode:
        """The exit status: found, nothing, or inconclusive."""
        status = exit_code(self.outcome.findings)
        return ExitCode.INCONCLUSIVE if status == ExitCode.NOTHING and not self.outcome.complete else status


def audit(
    system: System,
    out: Path,
    *,
    plan: Plan | None = None,
    seed: int = 0,
    device: str = "auto",
    budget: Budget | None = None,
    keys: Path | None = None,
    store: Path | None = None,
    command: str = "theriac audit",
    progress: Progress = silent,
) -> Audit:
    """Audits ``system`` and writes findings, repaired model, credentials, store and report below ``out``.

    Run again with the same ``out``, it takes what an earlier, interrupted run finished from there.

    Args:
        system: What to audit.
        out: Folder for everything that is written.
        plan: Which methods to use; the defaults otherwise.
        seed: Seed of everything random.
        device: auto, cpu or cuda.
        budget: Wall-clock limit.
        keys: Folder of the signing key; the user's own otherwise.
        store: Store of credentials; ``out/evidence.sqlite`` otherwise.
        command: What the report says to run to get the same again.
        progress: Told how far the audit is.

    Raises:
        UserError: If a part of the system cannot be read or does not fit; nothing is written then.
    """
    chosen = pick_device(device)
    opened = open_system(system, chosen)
    store = store or out / "evidence.sqlite"
    outcome = examine(
        opened, out, plan or Plan(), seed=seed, budget=budget or Budget(), progress=span(progress, 0.05, 0.95)
    )
    progress(0.95, "signing the evidence")
    signed = sign(opened, outcome, out, store, keys)
    report = out / "report.html"
    page = audit_report(
        system,
        outcome,
        system_id=signed.system_id,
        credentials=signed.summaries,
        chain=signed.chain,
        command=command,
        seed=seed,
        device=str(chosen),
        out=out,
        store=store,
    )
    write_report(report, page)
    return Audit(outcome, signed.system_id, store, report, signed.files)
