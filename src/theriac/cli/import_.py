"""``theriac import``: taking in credentials that others wrote."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from theriac.errors import ExitCode

if TYPE_CHECKING:
    from theriac.provenance.store import Added

app = App(name="import")


@app.default
def import_(
    path: Path,
    *,
    store: str = "evidence.sqlite",
    accept_unsigned: Annotated[bool, Parameter(negative="")] = False,
    profile: list[Literal["w3c", "nqminds-jcs", "nqminds-2018"]] | None = None,
    key: str | None = None,
    workers: int | None = None,
    max_bytes: int = 1 << 20,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Verify credentials once and add them to a store: a file, a folder, a TAIBOM battery, or JSON Lines.

    Unsigned or weakly signed credentials are kept out and named unless they are asked for; broken ones are kept and
    marked, and never count. What the store has is not added twice: run it again after an interruption.

    Exit codes: 0 everything is in; 3 something was kept out, refused or does not hold.

    Args:
        path: A file, or a folder with files (.json, .jsonld, .jsonl).
        store: The store, made if absent: a file or a postgresql:// URL.
        accept_unsigned: Take unsigned credentials as they are: anybody can have written them.
        profile: Take credentials signed in a weak way, too: nqminds-jcs or nqminds-2018.
        key: The public key that signed nqminds-jcs credentials, which do not name it.
        workers: Processes that verify; by default one for each core when there is much to do.
        max_bytes: Size up to which a credential is read.
        json: Print machine-readable output only.
    """
    from theriac.cli.options import one_line, print_json, progress_bar
    from theriac.provenance.battery import credential_files, read_credentials
    from theriac.provenance.intake import Accepted
    from theriac.provenance.pool import examine_all
    from theriac.provenance.store import Added, Store

    files = credential_files(path)
    total = sum(file.stat().st_size for file in files)
    chosen = (os.cpu_count() or 1) if workers is None and total > 4 << 20 else workers or 0
    accepted = Accepted(frozenset(profile or ()) - {"w3c"}, accept_unsigned, key, max_bytes)
    added, done = Added(), 0
    with Store(store, write=True) as opened, progress_bar("import", hidden=json) as progress:
        for batch in examine_all(read_credentials(files, max_bytes), accepted, chosen):
            opened.add_examined(batch, added)
            done += batch.size
            progress(done / max(total, 1), f"{added.new:,} new")
    if json:
        lists = {"kept_out": added.kept_out, "refused": added.refused, "invalid": added.invalid}
        counts = {"new": added.new, "known": added.known, "weak": added.weak}
        counts |= {name: len(lines) for name, lines in lists.items()}
        print_json(counts | {"named": lists, "files": len(files), "store": opened.where})
    else:
        print(f"{added.new} new, {added.known} known, {added.weak} of the new unsigned or weakly signed")
        for title, lines in _troubles(added).items():
            if lines:
                print(f"{len(lines)} {title}:")
            for line in lines[:20]:
                print(one_line(f"  {line}"))
            if len(lines) > 20:
                print(f"  … and {len(lines) - 20} more")
    troubled = any(_troubles(added).values())
    return ExitCode.INCONCLUSIVE if troubled else ExitCode.NOTHING


def _troubles(added: "Added") -> dict[str, list[str]]:
    return {
        "kept out, because nobody asked for them": added.kept_out,
        "refused, because they are no credentials": added.refused,
        "do not hold; they are shown, and do not count": added.invalid,
    }
