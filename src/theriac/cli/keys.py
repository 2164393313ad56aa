"""``theriac keys new|list``: signing keys."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from theriac.errors import ExitCode, UserError

app = App(name="keys", help="Make and list signing keys.")

Json = Annotated[bool, Parameter(negative="", help="Print machine-readable output only.")]


@app.command
def new(
    *,
    name: str = "default",
    store: Path | None = None,
    passphrase: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Make a new Ed25519 key. Without --name it is the one that `theriac audit` signs with.

    Args:
        name: Name of the key.
        store: Folder of the keys; $THERIAC_KEYS or ~/.config/theriac/keys by default.
        passphrase: Ask for a passphrase to encrypt the key with; $THERIAC_PASSPHRASE does so without asking.
    """
    from theriac.cli.options import print_json
    from theriac.provenance import keys

    folder = store or keys.default_folder()
    key = keys.create(folder, name, _ask_twice() if passphrase else None)
    path = folder / f"{name}.pem"
    if json:
        print_json({"name": name, "did": key.did, "path": str(path)})
    else:
        print(f"{key.did}\nThe private key is in {path}; keep it to yourself. Give others the line above.")
    return ExitCode.NOTHING


@app.command(name="list")
def list_keys(*, store: Path | None = None, json: Json = False) -> int:
    """List the keys with the identifiers by which others know them.

    Args:
        store: Folder of the keys; $THERIAC_KEYS or ~/.config/theriac/keys by default.
    """
    from theriac.cli.options import print_json
    from theriac.provenance import keys

    folder = store or keys.default_folder()
    entries = keys.listed(folder)
    if json:
        print_json([vars(entry) | {"path": str(entry.path)} for entry in entries])
    elif not entries:
        print(f"No keys in {folder}; make one with: theriac keys new")
    for entry in [] if json else entries:
        print(f"{entry.name:<16} {entry.did or '(identifier unknown)'}{' (encrypted)' if entry.encrypted else ''}")
    return ExitCode.NOTHING


def _ask_twice() -> str:
    from getpass import getpass

    try:
        first, second = getpass("Passphrase: "), getpass("The same again: ")
    except EOFError:
        raise UserError("no passphrase was given", where="--passphrase") from None
    if not first or first != second:
        raise UserError("the passphrase is empty or was not repeated", where="--passphrase", do="try again")
    return first
