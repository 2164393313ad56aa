"""``theriac audit``: the main job."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from theriac.cli.options import Run, print_json
from theriac.errors import ExitCode, UserError

if TYPE_CHECKING:
    from theriac.audit import Audit

app = App(name="audit", help="Audit a whole AI system: data, model, inputs; repair it; sign and report what was found.")


@app.default
def audit(
    system: Path | None = None,
    *,
    out: Path = Path("theriac-audit"),
    repair: bool = True,
    keys: Path | None = None,
    store: Path | None = None,
    init: Annotated[bool, Parameter(negative="")] = False,
    run: Run = Run(),
) -> int:
    """Audit a whole AI system (data, model, inputs); without SYSTEM, the embedded sample system.

    Args:
        system: A system.toml; `theriac audit --init` writes a commented one.
        out: Folder for the report, findings, repaired model and credentials. An interrupted audit goes on from there.
        repair: Repair a model that is found poisoned.
        keys: Folder of the signing key; by default your own, made on first use.
        store: Store of credentials; by default OUT/evidence.sqlite.
        init: Write a commented system.toml (or SYSTEM) and stop.
    """
    if init:
        return _write_template(system or Path("system.toml"))
    if out.exists() and not out.is_dir():
        raise UserError("is not a folder", where=out, do="choose another --out")
    from theriac.audit import Plan
    from theriac.audit import audit as run_audit
    from theriac.sample import sample_system
    from theriac.system import read_system

    described = sample_system() if system is None else read_system(system)
    budget = run.limit()
    with run.progress("audit") as progress:
        result = run_audit(
            described,
            out,
            plan=Plan(repair=repair),
            seed=run.seed,
            device=run.device,
            budget=budget,
            keys=keys,
            store=store,
            command=shlex.join(["theriac", *sys.argv[1:]]),
            progress=progress,
        )
    if run.json:
        print_json(_as_json(result))
    else:
        _print(result)
    return result.status


def _write_template(path: Path) -> int:
    from theriac.files import write_text
    from theriac.system import TEMPLATE

    if path.exists():
        raise UserError("exists already", where=path, do="name another file")
    write_text(path, TEMPLATE)
    print(f"Wrote {path}. Say in it where your model and data are, then run: theriac audit {path}")
    return ExitCode.NOTHING


def _as_json(result: "Audit") -> dict[str, object]:
    outcome = result.outcome
    return {
        "findings": [f.model_dump(mode="json") for f in outcome.findings],
        "repair": outcome.repair.model_dump(mode="json") if outcome.repair else None,
        "repaired": str(outcome.repaired) if outcome.repaired else None,
        "not_checked": outcome.not_checked,
        "system_id": result.system_id,
        "store": str(result.store),
        "report": str(result.report),
        "credentials": [str(path) for path in result.credentials],
    }


def _print(result: "Audit") -> None:
    from theriac.report import summary

    tool = "theriac" if shutil.which("theriac") else sys.argv[0]  # as it was called, outside an activated environment
    summary(
        result.outcome.findings,
        repair=result.outcome.repair,
        not_checked=result.outcome.not_checked,
        report=result.report,
        commands=[shlex.join([tool, "query", "data-poisoning", result.system_id, "--store", str(result.store)])],
    )
