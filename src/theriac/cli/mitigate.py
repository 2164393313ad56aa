"""``theriac mitigate METHOD``: one sub-command per mitigation, whose options are its hyper-parameters."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from theriac.cli.options import Run, print_finding
from theriac.errors import ExitCode, UserError
from theriac.mitigate import METHODS

app = App(name="mitigate", help="Repair a poisoned model with clean labelled examples.")


def __getattr__(name: str) -> Any:
    """Makes the command of the mitigation called ``name`` when it is asked for: its module imports torch."""
    if name not in METHODS.targets():
        raise AttributeError(name)
    return _command(name, METHODS[name])


def _command(name: str, method: type[Any]) -> Callable[..., int]:
    def command(
        path: str,
        *,
        examples: str,
        out: Path,
        finding: Path | None = None,
        architecture: str | None = None,
        settings: Any = None,
        run: Run = Run(),
    ) -> int:
        return mitigate(path, settings or method(), examples, out, finding, architecture, run)

    command.__name__ = name.replace("-", "_")
    summary = (method.__doc__ or "").strip().splitlines()[0]
    command.__doc__ = f"""{summary}

    Paper: {method.paper}

    Args:
        path: The model file; nothing in it is run.
        examples: Clean labelled examples.
        out: Where to write the repaired model (.safetensors).
        finding: A finding of `theriac scan model`, so that its triggers need not be searched again.
        architecture: Architecture, when it is not recognised from the tensors.
    """
    command.__annotations__["settings"] = Annotated[method | None, Parameter(name="*")]
    return command


def mitigate(
    path: str,
    method: Any,
    examples: str,
    out: Path,
    finding: Path | None,
    architecture: str | None,
    run: Run,
) -> int:
    """Repairs the model at ``path``, writes it to ``out`` and prints the finding.

    Returns:
        0 when the model was repaired, or needed no repair; 3 when it was left as it is because a repair would harm it.
    """
    from pydantic import ValidationError

    from theriac.data.reading import open_images
    from theriac.files import sha256_file
    from theriac.finding import Finding
    from theriac.models.opening import open_model
    from theriac.models.saving import save_model

    known = None
    if finding is not None:
        try:
            known = Finding.model_validate_json(finding.read_bytes())
        except ValidationError:
            raise UserError("is not a finding", where=finding, do="theriac scan model --out writes one") from None
    clean = open_images(examples)
    model = open_model(path, architecture=architecture, classes=clean.classes).to(run.torch_device())
    if known is not None and known.subject.sha256 != model.sha256:
        raise UserError("is about another model", where=finding, do="scan this model, or leave --finding out")
    with run.progress("repair") as progress:
        result = method.mitigate(
            model, clean, budget=run.limit(), generator=run.generator(), finding=known, progress=progress
        )
    report = result.finding
    if result.changed:
        save_model(result.model, out)
        report = report.model_copy(
            update={"subject": report.subject.model_copy(update={"name": out.name, "sha256": sha256_file(out)})}
        )
    print_finding(report, run)
    return ExitCode.NOTHING if result.changed or report.verdict == "clean" else ExitCode.INCONCLUSIVE


for _name in METHODS:
    app.command(f"theriac.cli.mitigate:{_name}", name=_name)
