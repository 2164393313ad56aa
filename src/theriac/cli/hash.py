"""``theriac hash``: the digest of a file or folder, its manifest, what changed since one was written, and copies."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from theriac.cli.options import Run, print_json, printable
from theriac.errors import ExitCode, UserError
from theriac.manifest.walking import Symlinks

if TYPE_CHECKING:
    from theriac.manifest import Manifest, Mismatch, OmsStatement, Repeat

app = App(
    name="hash",
    help_epilogue="Exit codes: 0 hashed, equal, or no copies; 1 something differs or is there twice; 2 bad input.",
)

Flag = Annotated[bool, Parameter(negative="")]


@app.default
def hash_path(
    path: str,
    *,
    out: Path | None = None,
    against: Path | None = None,
    signature: Path | None = None,
    duplicates: Flag = False,
    overlap: Path | None = None,
    symlinks: Symlinks = "refuse",
    workers: int | None = None,
    legacy: Flag = False,
    json: Flag = False,
) -> int:
    """Digest every file below a folder, and give the folder one root that changes with any of them.

    Args:
        path: A file or folder; for --duplicates and --overlap a manifest that --out wrote will do.
        out: Write the manifest, one line per file, here; stopped at any moment, the same command goes on.
        against: Name every file that differs from this manifest.
        signature: Say whether this OpenSSF model.sig is about these files; who signed it is not checked.
        duplicates: Name all files with the same bytes, and whether their class folders (labels) contradict each other.
        overlap: Name all files whose bytes are also in this folder or manifest, for instance of test data.
        symlinks: refuse names the first symbolic link and stops; follow-inside reads the file that it leads to, if that
            lies in the same folder.
        workers: Files that are read at a time; by default one per processor, 8 at most.
        legacy: Print TAIBOM's hash of the folder as its path is typed here: weak, only to check old claims.
        json: Print machine-readable output only.
    """
    from theriac import manifest as manifests

    if sum((out is not None, against is not None, signature is not None, duplicates, overlap is not None, legacy)) > 1:
        what = "--out, --against, --signature, --duplicates, --overlap and --legacy do different things"
        raise UserError(what, do="give one of them")
    if legacy:
        return _legacy(path, json)
    if duplicates or overlap is not None:
        return _copies(Path(path), overlap, symlinks, workers, json)
    place = Path(path)
    before = None if against is None else manifests.read_manifest(against)
    statement = None if signature is None else manifests.read_oms(signature)
    with Run(json=json).progress("hashing") as progress:
        if before is not None:
            found = manifests.compare(before, place, symlinks=symlinks, workers=workers, progress=progress)
        elif out is not None:
            made = manifests.build_to(place, out, symlinks=symlinks, workers=workers, progress=progress)
        else:
            made = manifests.build(place, symlinks=symlinks, workers=workers, progress=progress)
    if before is not None:
        return _differences(found, before, json)
    if statement is not None:
        return _signature(made, statement, json)
    _print(made, out, json)
    return ExitCode.NOTHING


def _print(made: "Manifest", out: Path | None, json: bool) -> None:
    from theriac.manifest import oms_left_out, oms_root_digest

    covered = len(made.entries) - len(oms_left_out(made))
    shown: dict[str, Any] = {
        "root": made.root,
        "files": len(made.entries),
        "bytes": made.total,
        "oms": oms_root_digest(made) if covered else None,
        "manifest": None if out is None else str(out),
    }
    if json:
        print_json(shown)
        return
    left_out = "" if covered == len(made.entries) else f" (of {covered} files: without those of git)"
    print(f"root      {made.root}\nfiles     {shown['files']}\nbytes     {shown['bytes']}")
    print(f"OMS root  {shown['oms'] or 'none'}{left_out}")
    if out is not None:
        print(f"manifest  {out}")


def _differences(found: "Mismatch", before: "Manifest", json: bool) -> int:
    if json:
        print_json({"equal": not found, "root": before.root, **vars(found)})
    else:
        for what in ("changed", "missing", "added"):
            for path in getattr(found, what):
                print(f"{what:<8} {_one_line(path)}")
        counts = ", ".join(f"{len(paths)} {what}" for what, paths in vars(found).items())
        print(f"DIFFERENT: {counts}" if found else f"equal: {len(before.entries)} files, {before.root}")
    return ExitCode.FOUND if found else ExitCode.NOTHING


def _signature(made: "Manifest", statement: "OmsStatement", json: bool) -> int:
    from theriac.manifest import oms_left_out, oms_root_digest

    digest, left_out = oms_root_digest(made, statement.ignored), oms_left_out(made, statement.ignored)
    equal = digest == statement.subject
    if json:
        print_json({"equal": equal, "oms": digest, "subject": statement.subject, "left_out": left_out})
    else:
        print(
            f"{'equal' if equal else 'DIFFERENT'}: the signature is about {statement.subject}, the files give {digest}"
        )
        print("Who signed it was not checked.")
        for path in left_out:
            print(f"not covered  {_one_line(path)}")
    return ExitCode.NOTHING if equal else ExitCode.FOUND


def _copies(path: Path, other: Path | None, symlinks: Symlinks, workers: int | None, json: bool) -> int:
    from theriac import manifest as manifests

    held: list[Manifest] = []
    for place in (path,) if other is None else (path, other):
        if place.is_file() and manifests.is_manifest(place):
            held.append(manifests.read_manifest(place))
            continue
        with Run(json=json).progress("hashing") as progress:
            held.append(manifests.build(place, symlinks=symlinks, workers=workers, progress=progress))
    found = manifests.duplicates(held[0]) if other is None else manifests.overlap(*held)
    files = [len(made.entries) for made in held]
    empty = sum(not entry.size for made in held for entry in made.entries)
    if json:
        conflicting = sum(repeat.conflicting for repeat in found)
        print_json({"repeats": list(map(vars, found)), "conflicting": conflicting, "files": files, "empty": empty})
    else:
        _print_copies(found, [str(path), *([] if other is None else [str(other)])], files, empty)
    return ExitCode.FOUND if found else ExitCode.NOTHING


def _print_copies(found: Sequence["Repeat"], places: list[str], files: list[int], empty: int) -> None:
    for repeat in found:
        labels = f", conflicting labels: {', '.join(repeat.labels)}" if repeat.conflicting else ""
        print(_one_line(f"same bytes{labels}"))
        for place, paths in zip(places, (repeat.here, repeat.there), strict=False):
            for below in paths:
                print(_one_line(f"  {below}" if len(places) == 1 else f"  {place}: {below}"))
    among = f"among {' and '.join(map(str, files))} files" + (f" ({empty} empty ones left out)" if empty else "")
    what = "duplicates" if len(places) == 1 else "overlap"
    if not found:
        print(f"no {what} {among}")
        return
    groups = f"{len(found)} group{'' if len(found) == 1 else 's'} of files with the same bytes"
    conflicting = sum(repeat.conflicting for repeat in found)
    print(f"{what.upper()}: {groups}, {conflicting} with conflicting labels, {among}")


def _legacy(typed: str, json: bool) -> int:
    from theriac.manifest import legacy_directory_hash

    digest = legacy_directory_hash(Path(typed.removeprefix("file://")), typed)
    if json:
        print_json({"legacy": digest, "as_typed": typed, "weak": True})
    else:
        print(f"{digest}\nWEAK: it depends on the path as typed ({_one_line(typed)}) and does not see links.")
        print("Use it only to check old claims.")
    return ExitCode.NOTHING


def _one_line(path: str) -> str:
    return printable(path.replace("\n", "\ufffd"))
