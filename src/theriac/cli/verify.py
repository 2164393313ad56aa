"""``theriac verify``: whether a credential holds."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from theriac.errors import ExitCode, UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from theriac.provenance.canonical import Document
    from theriac.provenance.credentials import Envelope, Verification

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
    profile: Literal["w3c", "nqminds-jcs", "nqminds-2018"] = "w3c",
    signer_key: str | None = None,
    issuer_document: Path | None = None,
    allow_network: Annotated[bool, Parameter(negative="")] = False,
    any_layout: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check that a credential was signed as it stands by the issuer that it names, and is not expired.

    Args:
        file: The credential, a JSON file.
        signer: The did:key that must have signed it; any by default.
        profile: How it was signed. The two of nqminds' are weak: they prove little, and are tried only when asked for.
        signer_key: The signer's public key for a weak profile, a did:key or base64; nqminds-jcs needs it.
        issuer_document: The DID document of an issuer that is a did:web or https:// address, a file.
        allow_network: Fetch that document from the issuer's address.
        any_layout: Check the signed content only, for files that were laid out by hand. Otherwise no byte may differ
            from what a JSON writer makes of the content.
        json: Print machine-readable output only.
    """
    from theriac.cli.options import print_json
    from theriac.provenance import credentials
    from theriac.provenance.canonical import MAX_BYTES

    if signer_key is not None and profile == "w3c":
        raise UserError("only for a weak profile", where="--signer-key", do="use --signer")
    if (issuer_document or allow_network) and profile != "w3c":
        raise UserError("a weak profile never ties a key to an issuer", where="--profile", do="leave one of them out")
    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    opening = _opening(profile, signer_key, issuer_document, allow_network)
    result = credentials.verify(data, signer=signer, any_layout=any_layout, opening=opening)
    if json:
        print_json(vars(result) | {"file": str(file)})
    else:
        _print(result)
    return ExitCode.NOTHING if result.valid else ExitCode.FOUND


def _opening(
    profile: str, signer_key: str | None, issuer_document: Path | None, allow_network: bool
) -> "Callable[[Document], Envelope]":
    from theriac.provenance.credentials import open_envelope
    from theriac.provenance.profiles import open_foreign

    if profile != "w3c":
        return partial(open_foreign, profile=profile, key=signer_key)
    if issuer_document is None and not allow_network:
        return open_envelope
    from theriac.provenance.did_web import MAX_DOCUMENT, fetch_document, resolve_did_web

    content = None
    if issuer_document is not None:
        with issuer_document.open("rb") as opened:
            content = opened.read(MAX_DOCUMENT + 1)

    def owns(issuer: str, signer: str) -> bool:
        return signer in resolve_did_web(fetch_document(issuer) if content is None else content, issuer)

    return partial(open_envelope, owns=owns)


def _print(result: "Verification") -> None:
    from theriac.cli.options import printable

    if not result.valid:
        print(printable(f"INVALID: {result.reason}"))
        return
    verdict = f"VALID (weak profile {result.profile})" if result.weak else "valid"
    print(printable(f"{verdict}: {result.kind or 'credential'} {result.id or ''} signed by {result.signer}"))
    for warning in result.warnings:
        print(printable(f"but {warning}"))
