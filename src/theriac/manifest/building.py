"""Building a manifest: finding the files, hashing those that are not known yet, and writing it all down."""

import os
import stat
from pathlib import Path

from theriac.errors import UserError
from theriac.files import sha256_file
from theriac.manifest.partial import Partial
from theriac.manifest.record import Entry, Manifest, write_manifest
from theriac.manifest.walking import Found, Symlinks, Top, state_of, unreadable
from theriac.manifest.working import Progress, Work

MAX_WORKERS = 8  # beyond that the interpreter's lock and the disk set the pace


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, or the Merkle root of a folder's manifest.

    Raises:
        UserError: If there is nothing at ``path``, or something below it is unreadable or is a link.
    """
    if not path.exists():
        raise UserError("no such file or folder", where=path)
    return build(path).root.partition(":")[2] if path.is_dir() else sha256_file(path)


def build(
    path: Path,
    *,
    symlinks: Symlinks = "refuse",
    workers: int | None = None,
    progress: Progress | None = None,
    resume: Path | None = None,
) -> Manifest:
    """Hashes a file, or every file below a folder. Folders without files leave no trace in the result.

    Args:
        path: The file or folder.
        symlinks: What becomes of symbolic links below the folder.
        workers: How many files are read at a time; as many as there are processors by default, 8 at most.
        progress: Called from this thread with the share done in [0, 1] and a few words.
        resume: Where work is noted as it is done, and taken up again from: files that are known there and were not
            touched since are not read again.

    Raises:
        UserError: If there is no file, or something cannot be read, is a link that is not followed, is neither file nor
            folder, or changes while it is read.
    """
    entries = hash_files(path, symlinks=symlinks, workers=workers, progress=progress, resume=resume)
    if not entries:
        raise UserError("the folder is empty", where=path)
    return Manifest(tuple(entries), single=not path.is_dir())


def build_to(
    path: Path,
    out: Path,
    *,
    symlinks: Symlinks = "refuse",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Builds the manifest of ``path`` and writes it to ``out``; killed at any moment, the next call goes on.

    Raises:
        UserError: As :func:`build`, and if ``out`` lies inside the folder: it would not describe itself.
    """
    if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
        raise UserError("lies inside the folder that it describes", where=out, do="choose a place outside")
    partial = out.with_name(f"{out.name}.partial")
    manifest = build(path, symlinks=symlinks, workers=workers, progress=progress, resume=partial)
    write_manifest(manifest, out)
    partial.unlink(missing_ok=True)
    return manifest


def hash_files(
    path: Path,
    *,
    symlinks: Symlinks | None = "refuse",
    workers: int | None = None,
    progress: Progress | None = None,
    resume: Path | None = None,
) -> list[Entry]:
    """Returns the sorted entries of :func:`build`, none for an empty folder; ``symlinks=None`` leaves links out."""
    if workers is not None and workers < 1:
        raise UserError(f"must be at least 1, got {workers}", where="workers")
    if not path.exists():
        raise UserError("no such file or folder", where=path)
    if path.is_dir():
        with Top(path) as top:
            found = list(top.files(symlinks or "ignore"))
            entries = _hashed(top, found, workers or _processors(), progress, resume)
    else:
        real = path.resolve()  # the user named this file, maybe by a link
        with Top(real.parent, listed=False) as top:
            entries = _hashed(top, [_single(path, real)], 1, progress, resume)
    return sorted(entries, key=lambda entry: entry.path.encode())


def _single(path: Path, real: Path) -> Found:
    try:
        status = real.stat()
    except OSError as error:
        raise unreadable(error, path) from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError("is neither a regular file nor a folder", where=path)
    return Found(path.absolute().name, "", real.name, status.st_size, state_of(status))


def _processors() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MAX_WORKERS)


def _hashed(top: Top, found: list[Found], workers: int, progress: Progress | None, resume: Path | None) -> list[Entry]:
    if not found:
        return []
    with Partial(resume, top.path) as partial:
        entries: list[Entry] = []
        left = found if not partial else []
        for file in found if partial else ():
            if (digest := partial.digest(file)) is None:
                left.append(file)
            else:
                entries.append(Entry(file.path, file.size, digest))
        for batch, digests in Work(top, left, workers, progress).results():
            partial.note(batch, digests)
            entries += [Entry(f.path, f.size, d) for f, d in zip(batch, digests, strict=True)]
    return entries
