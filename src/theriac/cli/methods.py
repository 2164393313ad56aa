"""``theriac methods``: what theriac can do, with which settings, after which paper."""

from dataclasses import MISSING, fields
from typing import Any

from cyclopts import App

from theriac.cli.options import Run, print_json
from theriac.detect.data import METHODS as DATA
from theriac.detect.inputs import METHODS as INPUTS
from theriac.detect.models import METHODS as MODELS
from theriac.errors import UserError
from theriac.mitigate import METHODS as MITIGATIONS
from theriac.registry import Registry
from theriac.triggers import TRIGGERS

FAMILIES: dict[str, Registry] = {
    "model detector": MODELS,
    "data detector": DATA,
    "input detector": INPUTS,
    "mitigation": MITIGATIONS,
    "trigger": TRIGGERS,
}

app = App(name="methods", help="List detectors, mitigations and triggers with their papers.")


@app.default
def methods(name: str | None = None, *, run: Run = Run()) -> int:
    """List every method, or show one with its hyper-parameters and their defaults.

    Args:
        name: One method.
    """
    listed = [
        _described(family, known, registry[known])
        for family, registry in FAMILIES.items()
        for known in registry
        if name in (None, known)
    ]
    if not listed:
        raise UserError(f"no method {name!r}", do="theriac methods lists them all")
    if run.json:
        print_json(listed)
    else:
        _print(listed, details=name is not None)
    return 0


def _described(family: str, name: str, method: type[Any]) -> dict[str, Any]:
    settings = {f.name: repr(f.default) for f in fields(method) if f.init and f.default is not MISSING}
    text = (method.__doc__ or "").strip()
    return {
        "family": family,
        "name": name,
        "summary": text.splitlines()[0],
        "description": text,
        "paper": getattr(method, "paper", ""),
        "settings": settings,
    }


def _print(listed: list[dict[str, Any]], *, details: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if details:
        for method in listed:
            console.print(f"[bold]{method['name']}[/bold] ({method['family']})\n\n{method['description']}\n")
            console.print(f"Paper: {method['paper']}\n" if method["paper"] else "")
            for setting, default in method["settings"].items():
                console.print(f"  {setting} = {default}", highlight=False, markup=False)
        return
    table = Table("method", "family", "what it does", "paper", box=None, header_style="bold")
    for method in listed:
        table.add_row(method["name"], method["family"], method["summary"], method["paper"])
    console.print(table)
