"""``theriac keys new|list|export|rotate``: signing keys."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from theriac.errors import ExitCode, UserError

app = App(name="keys", help="Make, list, show and replace signing keys.")

Json = Annotated[bool, Parameter(negative="", help="Print machine-readable output only.")]
Encrypted = Annotated[
    bool | None,
    Parameter(
        negative="--no-passphrase",
        help="Ask for a passphrase to encrypt the new key with, as is done on a terminal anyway; $THERIAC_PASSPHRASE "
        "gives it without asking. --no-passphrase keeps the key in plain text.",
    ),
]


@app.command
def new(
    *,
    name: str = "default",
    store: Path | None = None,
    passphrase: Encrypted = None,
    json: Json = False,
) -> int:
    """Make a new Ed25519 key. Without --name it is the one that `theriac audit` signs with.

    Args:
        name: Name of the key.
        store: Folder of the keys; $THERIAC_KEYS or ~/.config/theriac/keys by default.
    """
    from theriac.cli.options import print_json
    from theriac.provenance import keys

    folder = store or keys.default_folder()
    if keys.path_of(folder, name).exists():
        raise UserError("there is a key of this name already", where=folder / f"{name}.pem", do="choose another --name")
    key = keys.create(folder, name, _secret(passphrase), encrypt=passphrase is not False)
    path = folder / f"{name}.pem"
    if json:
        print_json({"name": name, "did": key.did, "path": str(path)})
    else:
        print(f"{key.did}\nThe private key is in {path}; keep it to yourself. Give others the line above.")
        _say_if_plain(passphrase)
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


@app.command
def export(name: str = "default", *, store: Path | None = None, json: Json = False) -> int:
    """Print the public half of a key: the identifier to give to others.

    Args:
        name: Name of the key.
        store: Folder of the keys; $THERIAC_KEYS or ~/.config/theriac/keys by default.
    """
    import base64

    from theriac.cli.options import print_json
    from theriac.provenance import keys
    from theriac.provenance.did_key import public_key_of

    did = keys.public_of(store or keys.default_folder(), name)
    public = base64.b64encode(public_key_of(did).public_bytes_raw()).decode()
    if json:
        print_json({"name": name, "did": did, "public": public})
    else:
        print(did)
    return ExitCode.NOTHING


@app.command
def rotate(
    name: str = "default",
    *,
    store: Path | None = None,
    out: Path = Path("credentials"),
    passphrase: Encrypted = None,
    json: Json = False,
) -> int:
    """Replace a key by a new one of the same name; the old one is kept as NAME.DATE.

    Both keys sign who follows whom, so that those who trust the old one can go over to the new one: give them the two
    files.

    Args:
        name: Name of the key.
        store: Folder of the keys; $THERIAC_KEYS or ~/.config/theriac/keys by default.
        out: Folder for the two statements.
    """
    from theriac.cli.options import print_json
    from theriac.provenance import keys
    from theriac.provenance.rotation import rotate as replace

    folder = store or keys.default_folder()
    ask = _ask_old if sys.stdin.isatty() else None
    keys.public_of(folder, name)  # before asking for anything
    secret, encrypt = _secret(passphrase), passphrase is not False
    done = replace(folder, name, out, passphrase=secret, encrypt=encrypt, ask=ask)
    statements = [str(path) for path in done.statements]
    if json:
        answer = {"name": name, "did": done.new.did, "predecessor": done.old.did, "kept": str(done.kept)}
        print_json(answer | {"statements": statements})
    else:
        print(f"{done.new.did}\nreplaces {done.old.did},\nwhich is kept in {done.kept}. Both say so in:")
        print(*statements, sep="\n")
        _say_if_plain(passphrase)
    return ExitCode.NOTHING


def _secret(passphrase: bool | None) -> str | None:
    """Returns the passphrase for a new key, or None where there is nobody to ask or it is in the environment."""
    from theriac.provenance.keys import PASSPHRASE

    if passphrase is None:
        passphrase = sys.stdin.isatty() and not os.environ.get(PASSPHRASE)
    return _ask_twice() if passphrase else None


def _say_if_plain(passphrase: bool | None) -> None:
    from theriac.provenance.keys import NOT_ENCRYPTED, PASSPHRASE

    if passphrase is False or (passphrase is None and not sys.stdin.isatty() and not os.environ.get(PASSPHRASE)):
        print(NOT_ENCRYPTED)


def _ask_twice() -> str:
    from getpass import getpass

    try:
        first, second = getpass("Passphrase: "), getpass("The same again: ")
    except EOFError:
        raise UserError("no passphrase was given", where="--passphrase") from None
    if not first or first != second:
        do = "try again, or use --no-passphrase"
        raise UserError("the passphrase is empty or was not repeated", where="--passphrase", do=do)
    return first


def _ask_old() -> str:
    from getpass import getpass

    return getpass("Passphrase of the old key: ")
