"""The command line: one module per verb, loaded only when the verb is used."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from theriac import __version__
from theriac.errors import ExitCode, UserError

if TYPE_CHECKING:
    from cyclopts import App

VERBS: dict[str, str] = {
    "audit": "Audit a whole AI system (data, model, inputs); without an argument, the embedded sample system.",
    "inspect": "Look into a model file without running anything in it.",
    "poison": "Write a poisoned copy of a data set, for research and red teams.",
    "train": "Train a classifier, or fit an input detector on a task, and measure them.",
    "eval": "Measure a saved detector on a task.",
    "bench": "Measure input detectors on tasks: one JSON line each, tables and pictures.",
    "scan": "Scan a model, a data set or a stream of inputs for poisoning.",
    "mitigate": "Repair a poisoned model.",
    "tasks": "List tasks with ground truth for input detectors, or make one.",
    "hash": "Digest a file or folder, write what it holds, and find what changed since.",
    "keys": "Make and list signing keys.",
    "import": "Verify credentials that others wrote and add them to a store.",
    "attest": "Sign a credential about data, weights or a whole system.",
    "verify": "Check the signature of a credential.",
    "query": "Ask what signed credentials say about an AI system.",
    "export": "Write what a store says about an AI system as a BOM, a picture, credentials or Prolog facts.",
    "serve": "Ask and try out claims on a page in the browser.",
    "methods": "List detectors, mitigations and triggers with their papers.",
}

DESCRIPTION = "theriac finds, removes and proves poisoning in AI systems."
EXIT_CODES = "Exit codes: 0 nothing found, 1 poisoning found, 2 bad input or usage, 3 inconclusive or incomplete."


def root_help() -> str:
    """Returns the help page of the root command; it imports nothing, so that it comes at once."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
    return (
        f"{DESCRIPTION}\n\nUsage: theriac COMMAND [ARGS]\n\nCommands:\n{verbs}\n\n"
        f"Options:\n  --help     Show this page; after a command, that command's page.\n"
        f"  --version  Show the version.\n  --debug    Show the traceback of an error.\n\n{EXIT_CODES}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with the command's status."""
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))


def run(argv: list[str]) -> int:
    """Runs one command and returns its exit status."""
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(root_help())
        return ExitCode.NOTHING
    if argv[0] == "--version":
        print(__version__)
        return ExitCode.NOTHING
    debug = "--debug" in argv
    argv = [a for a in argv if a != "--debug"]
    try:
        return _dispatch(argv)
    except KeyboardInterrupt:
        print("theriac: stopped; run the same command again to go on where it left off", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception as error:  # even of a bug the exit status must not say "poisoning found"
        if debug:
            raise
        print(f"theriac: {_one_line(error)}", file=sys.stderr)
        return ExitCode.BAD_INPUT


def _one_line(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory; use a smaller --batch-size or fewer rows"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    if isinstance(error, UserError):
        return str(error)
    said = " ".join(str(error).split())[:300]
    return f"unexpected {type(error).__name__}: {said}; --debug shows where, please report it"


def command_line() -> "App":
    """Returns the whole command line; each verb's module is loaded when it is used."""
    from cyclopts import App

    app = App(name="theriac", help=DESCRIPTION, version=__version__, help_format="markdown")
    for verb, text in VERBS.items():
        module = "import_" if verb == "import" else verb  # a keyword cannot be a module's name
        app.command(f"theriac.cli.{module}:app", name=verb, help=text)
    return app


def _dispatch(argv: list[str]) -> int:
    from cyclopts import CycloptsError

    try:
        status = command_line()(argv, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        said = " ".join(str(error).split())
        page = " ".join(["theriac", *(error.command_chain or ()), "--help"])
        raise UserError(said if said.endswith("...") else said.rstrip("."), do=f"see {page}") from None
    return int(status or 0)
