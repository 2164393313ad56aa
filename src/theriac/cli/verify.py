"""``theriac verify``: whether a credential holds."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from theriac.errors import ExitCode

app = App(
    name="verify",
    help_epilogue="Anybody can make a key and sign with it: a valid credential proves who says so only to those who "
    "know the signer. Exit codes: 0 valid, 1 invalid.",
)


@app.default
def verify(
    file: Path,
    *,
    signer: str | None = None,
    any_layout: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check that a credential was signed as it stands by the issuer that it names, and is not expired.

    Args:
        file: The credential, a JSON file.
        signer: The did:key that must have signed it; any by default.
        any_layout: Check the signed content only, for files that were laid out by hand. Otherwise no byte may differ
            from what a JSON writer makes of the content.
        json: Print machine-readable output only.
    """
    from theriac.cli.options import print_json, printable
    from theriac.provenance import credentials
    from theriac.provenance.canonical import MAX_BYTES

    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    result = credentials.verify(data, signer=signer, any_layout=any_layout)
    if json:
        print_json(vars(result) | {"file": str(file)})
    elif result.valid:
        print(printable(f"valid: {result.kind or 'credential'} {result.id or ''} signed by {result.signer}"))
        for warning in result.warnings:
            print(printable(f"but {warning}"))
    else:
        print(printable(f"INVALID: {result.reason}"))
    return ExitCode.NOTHING if result.valid else ExitCode.FOUND
