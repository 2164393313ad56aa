"""Hashing many files in several threads, in bounded memory; the result does not depend on the threads."""

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from itertools import groupby

from theriac.errors import UserError
from theriac.manifest.helping import Helpers
from theriac.manifest.walking import Found, Top, open_file, state_of, unreadable

Progress = Callable[[float, str], None]

CHUNK = 1 << 20
LARGE = 256 << 10
"""From this size on hashing a file takes much longer than passing the interpreter's lock from thread to thread."""

BATCH_FILES = 128

SECONDS_PER_FILE, SECONDS_PER_BYTE = 10e-6, 0.6e-9
"""About what hashing a file in memory takes; only to judge whether helpers are worth it."""

WORTH_SECONDS = 0.3
"""Work from which on starting other processes, each a twentieth of a second, is worth it."""


class Work:
    """The hashing of files below one folder.

    Large files are read by all threads. Small ones are read by one thread at a time as long as they are in memory:
    several would only wait for the interpreter's lock. When that thread waits for the disk, all of them read. Where
    there are very many small ones, processes read them.

    Args:
        top: The folder.
        found: The files.
        workers: Number of threads.
        progress: Called with the share of bytes done and a few words.
    """

    def __init__(self, top: Top, found: list[Found], workers: int, progress: Progress | None) -> None:
        self._top, self._workers, self._progress = top, workers, progress
        self._count, self._bytes = len(found), sum(file.size for file in found)
        self._files_done = self._bytes_done = 0
        self._lock, self._stop = threading.Lock(), threading.Event()
        large = sorted((file for file in found if file.size >= LARGE), key=lambda file: -file.size)
        self._large = deque([file] for file in large)  # the largest first, so that all threads end together
        small = [file for file in found if file.size < LARGE]
        self._small = deque(_batches(small))
        helped = workers > 1 and sum(SECONDS_PER_FILE + file.size * SECONDS_PER_BYTE for file in small) > WORTH_SECONDS
        self._helpers = Helpers(top, workers) if helped else None

    def results(self) -> Iterator[tuple[list[Found], list[str]]]:
        """Yields files with their digests as they are known, telling how far it is at least five times a second."""
        running: dict[Future[tuple[list[str], bool]], list[Found]] = {}
        lanes = self._workers if self._helpers else 1  # batches of small files at a time
        with self._helpers or nullcontext(), ThreadPoolExecutor(self._workers) as pool:
            try:
                while True:
                    while batch := self._next(running.values(), lanes):
                        running[pool.submit(self._batch, batch)] = batch
                    if not running:
                        return
                    done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                    for future in done:
                        batch, (digests, waited) = running.pop(future), future.result()
                        if batch[0].size < LARGE and not self._helpers:
                            lanes = self._workers if waited else 1
                        self._files_done += len(batch)
                        yield batch, digests
                    if self._progress is not None:
                        share = self._bytes_done / self._bytes if self._bytes else self._files_done / self._count
                        self._progress(share, f"{self._files_done} of {self._count} files")
            finally:
                self._stop.set()

    def _next(self, running: Collection[list[Found]], lanes: int) -> list[Found] | None:
        """Returns the batch to begin now, if any; one more than there are threads waits its turn."""
        if len(running) > self._workers:
            return None
        if self._small and sum(batch[0].size < LARGE for batch in running) < lanes:
            return self._small.popleft()
        return self._large.popleft() if self._large else None

    def _batch(self, batch: list[Found]) -> tuple[list[str], bool]:
        """Returns the digests of files in one folder, and whether most of the time went into waiting for them."""
        small = sum(found.size for found in batch if found.size < LARGE)  # large ones tell as they are read
        clock, processor = time.perf_counter(), time.thread_time()
        digests = self._helpers.digests(batch) if self._helpers and small else None
        if digests is None:
            digests = digests_of(self._top, batch, self._stop, self._add)
        self._add(small)
        return digests, time.perf_counter() - clock > 2 * (time.thread_time() - processor)

    def _add(self, count: int) -> None:
        with self._lock:
            self._bytes_done += count


def digests_of(
    top: Top, batch: Sequence[Found], stop: threading.Event | None = None, read: Callable[[int], None] | None = None
) -> list[str]:
    """Returns the SHA-256 of files in one folder; fewer if ``stop`` is set meanwhile.

    Args:
        top: The folder that was looked through.
        batch: Files of one folder below it.
        stop: Ends the work early.
        read: Told the bytes of a large file as they are read.

    Raises:
        UserError: If a file cannot be read or is no longer what was found.
    """
    digests: list[str] = []
    try:
        with top.opened(batch[0].folder) as folder:
            for found in batch:
                if stop is not None and stop.is_set():
                    break
                digests.append(_file(top, found, folder, stop, read))
    except OSError as error:
        raise unreadable(error, top.shown(batch[0].folder)) from None
    return digests


def _file(top: Top, found: Found, folder: int, stop: threading.Event | None, read: Callable[[int], None] | None) -> str:
    try:
        handle = open_file(found.name, folder)
        try:
            digest = _digest(handle, found.size, stop, read)
            status = os.fstat(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise unreadable(error, top.shown(found.path)) from None
    # what was opened is the very file that was listed, which was a regular one, and nobody touched it since
    if digest is None or state_of(status) != found.state:
        do = "run again when nobody writes there"
        raise UserError("was changed while it was read", where=top.shown(found.path), do=do)
    return digest


def _digest(handle: int, size: int, stop: threading.Event | None, read: Callable[[int], None] | None) -> str | None:
    """Returns the digest of ``size`` bytes, or None if there are fewer or the work was stopped."""
    if size < LARGE and len(data := os.read(handle, size)) == size:
        return hashlib.sha256(data).hexdigest()
    os.lseek(handle, 0, os.SEEK_SET)
    digest, left = hashlib.sha256(), size
    while left and not (stop is not None and stop.is_set()):
        data = os.read(handle, left if left < CHUNK else CHUNK)
        if not data:
            return None
        digest.update(data)
        left -= len(data)
        if read is not None and size >= LARGE:
            read(len(data))
    return None if left else digest.hexdigest()


def _batches(found: list[Found]) -> Iterator[list[Found]]:
    """Yields files of one folder in groups that are worth a thread's turn."""
    for _, group in groupby(sorted(found, key=lambda file: file.folder), key=lambda file: file.folder):
        files = list(group)
        yield from (files[start : start + BATCH_FILES] for start in range(0, len(files), BATCH_FILES))
