"""Building a manifest: threads read and hash batches of files, in bounded memory, the result not depending on them."""

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import groupby, islice
from pathlib import Path

from theriac.errors import UserError
from theriac.files import sha256_file
from theriac.manifest.partial import Partial
from theriac.manifest.record import Entry, Manifest, sorted_by_path, write_manifest
from theriac.manifest.walking import Found, State, Symlinks, Top, open_file, unreadable

Progress = Callable[[float, str], None]

CHUNK = 1 << 20
BATCH_FILES = 128
BATCH_BYTES = 16 << 20
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
        with Top(real.parent) as top:
            entries = _hashed(top, [_single(path, real)], 1, progress, resume)
    return list(sorted_by_path(entries))


def _single(path: Path, real: Path) -> Found:
    try:
        status = real.stat()
    except OSError as error:
        raise unreadable(error, path) from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError("is neither a regular file nor a folder", where=path)
    return Found(path.absolute().name, "", real.name, State.of(status))


def _processors() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MAX_WORKERS)


def _hashed(
    top: Top, found: list[Found], workers: int, progress: Progress | None, resume: Path | None
) -> Iterable[Entry]:
    with Partial(resume, top.path) as partial:
        entries = [Entry(f.path, f.state.size, digest) for f in found if (digest := partial.digest(f)) is not None]
        known = {entry.path for entry in entries}
        left = [f for f in found if f.path not in known] if known else found
        work = _Work(top, sum(f.state.size for f in left))
        with ThreadPoolExecutor(workers) as pool:
            try:
                for batch, digests in work.run(pool, _batches(left), workers, progress):
                    partial.note(batch, digests)
                    entries += [Entry(f.path, f.state.size, d) for f, d in zip(batch, digests, strict=True)]
            finally:
                work.stop.set()
    return entries


def _batches(found: list[Found]) -> list[list[Found]]:
    """Returns files of one folder in groups worth a thread's turn, the largest first, so that all end together."""
    batches = []
    for _, group in groupby(sorted(found, key=lambda f: (f.folder, f.name)), key=lambda f: f.folder):
        batch: list[Found] = []
        size = 0
        for file in group:
            if batch and (len(batch) == BATCH_FILES or size + file.state.size > BATCH_BYTES):
                batches.append((size, batch))
                batch, size = [], 0
            batch.append(file)
            size += file.state.size
        batches.append((size, batch))
    return [batch for _, batch in sorted(batches, key=lambda sized: -sized[0])]


class _Work:
    """The hashing of one folder's files, in several threads."""

    def __init__(self, top: Top, total: int) -> None:
        self.stop = threading.Event()
        self._top, self._total = top, total
        self._done, self._lock = 0, threading.Lock()

    def run(
        self, pool: ThreadPoolExecutor, batches: list[list[Found]], workers: int, progress: Progress | None
    ) -> Iterator[tuple[list[Found], list[str]]]:
        """Yields batches with their digests as they are done, telling how far it is at least five times a second."""
        waiting, files = iter(batches), 0
        running: dict[Future[list[str]], list[Found]] = {}
        count = sum(map(len, batches))
        while True:
            for batch in islice(waiting, 4 * workers - len(running)):
                running[pool.submit(self._batch, batch)] = batch
            if not running:
                return
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                files += len(running[future])
                yield running.pop(future), future.result()
            if progress is not None:
                share = self._done / self._total if self._total else files / count
                progress(min(share, 1.0), f"{files} of {count} files")

    def _batch(self, batch: list[Found]) -> list[str]:
        digests = []
        try:
            with self._top.opened(batch[0].folder) as folder:
                for found in batch:
                    if self.stop.is_set():
                        return []
                    digests.append(self._file(found, folder))
        except OSError as error:
            raise unreadable(error, self._top.shown(batch[0].folder)) from None
        return digests

    def _file(self, found: Found, folder: int) -> str:
        where = self._top.shown(found.path)
        try:
            handle = open_file(found.name, folder)
        except OSError as error:
            raise unreadable(error, where) from None
        try:
            digest = self._digest(handle, found.state) if _same(handle, found.state) else None
            if digest is None or not _same(handle, found.state):
                raise UserError("was changed while it was read", where=where, do="run again when nobody writes there")
        except OSError as error:
            raise unreadable(error, where) from None
        finally:
            os.close(handle)
        return digest

    def _digest(self, handle: int, state: State) -> str | None:
        """Returns the digest of the file, or None if its length is not that of ``state`` or the work was stopped."""
        digest, left = hashlib.sha256(usedforsecurity=False), state.size
        while left and not self.stop.is_set():
            data = os.read(handle, min(left, CHUNK))
            digest.update(data)
            left -= len(data)
            if not data:
                return None
            with self._lock:
                self._done += len(data)
        return None if left else digest.hexdigest()


def _same(handle: int, state: State) -> bool:
    status = os.fstat(handle)
    return stat.S_ISREG(status.st_mode) and State.of(status) == state
