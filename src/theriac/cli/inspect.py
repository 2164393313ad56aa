"""``theriac inspect``: what is in a model file, without running anything in it."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from theriac.cli.options import print_json
from theriac.errors import ExitCode, UserError

if TYPE_CHECKING:
    from theriac.models.inspection import Inspection

app = App(name="inspect", help="Look into a model file without running anything in it.")


@app.default
def inspect(path: str, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Say whether a model file is safe to open, and what is in it.

    The exit status is 0 if theriac opens the file, and 2 with the reason if it does not.

    Args:
        path: A model file, or where it is: a local path, hf:// or any URL that fsspec opens.
        json: Print machine-readable output only.
    """
    from theriac.models.inspection import inspect_model

    try:
        found = inspect_model(path)
    except UserError as error:
        if not json:
            raise
        print_json({"safe": False, "reason": str(error)})
        return ExitCode.BAD_INPUT
    if json:
        print_json(found.model_dump())
    else:
        _print(path, found)
    return ExitCode.NOTHING if found.safe else ExitCode.BAD_INPUT


def _print(path: str, found: "Inspection") -> None:
    print(f"{path}: {'safe to open' if found.safe else f'REFUSED: {found.reason}'}")
    fits = [f"{name} with {count} classes" for name, count in found.architectures.items()]
    protections = [f"{name}: {what}" for name, what in found.protections.items()]
    lines = {
        "format": [f"{found.format}, {found.size} bytes"],
        "sha256": [found.sha256],
        "tensors": [f"{found.tensors}, {found.tensor_bytes} bytes"] if found.tensors else [],
        "class": [found.pickled_class] if found.pickled_class else [],
        "fits": fits or (["no architecture that theriac knows"] if found.safe else []),
        "says": [f"{key} = {value[:200]}" for key, value in found.metadata.items()],
        "refers to": found.globals,
        "notes": found.notes,
        "read under": protections,
    }
    for title, values in lines.items():
        for k, value in enumerate(values):
            print(f"  {title if k == 0 else '':<11} {value}")
