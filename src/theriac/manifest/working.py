"""Hashing many files in several threads, in bounded memory; the result does not depend on the threads."""

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import groupby

from theriac.errors import UserError
from theriac.manifest.walking import Found, Top, open_file, state_of, unreadable

Progress = Callable[[float, str], None]

CHUNK = 1 << 20
LARGE = 256 << 10
"""From this size on hashing a file takes much longer than passing the interpreter's lock from thread to thread."""

BATCH_FILES = 128


class Work:
    """The hashing of files below one folder.

    Large files are read by all threads. Small ones are read by one thread at a time as long as they are in memory:
    several would only wait for the interpreter's lock. When that thread waits for the disk, all of them read.

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
        self._small = deque(_batches([file for file in found if file.size < LARGE]))

    def results(self) -> Iterator[tuple[list[Found], list[str]]]:
        """Yields files with their digests as they are known, telling how far it is at least five times a second."""
        running: dict[Future[tuple[list[str], bool]], list[Found]] = {}
        lanes = 1  # batches of small files at a time
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                while True:
                    while batch := self._next(running.values(), lanes):
                        running[pool.submit(self._batch, batch)] = batch
                    if not running:
                        return
                    done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                    for future in done:
                        batch, (digests, waited) = running.pop(future), future.result()
                        if batch[0].size < LARGE:
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
        digests: list[str] = []
        small = sum(found.size for found in batch if found.size < LARGE)  # large ones tell as they are read
        clock, processor = time.perf_counter(), time.thread_time()
        try:
            with self._top.opened(batch[0].folder) as folder:
                for found in batch:
                    if self._stop.is_set():
                        break
                    digests.append(self._file(found, folder))
        except OSError as error:
            raise unreadable(error, self._top.shown(batch[0].folder)) from None
        self._add(small)
        return digests, time.perf_counter() - clock > 2 * (time.thread_time() - processor)

    def _file(self, found: Found, folder: int) -> str:
        try:
            handle = open_file(found.name, folder)
            try:
                digest = self._digest(handle, found.size)
                status = os.fstat(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise unreadable(error, self._top.shown(found.path)) from None
        # what was opened is the very file that was listed, which was a regular one, and nobody touched it since
        if digest is None or state_of(status) != found.state:
            do = "run again when nobody writes there"
            raise UserError("was changed while it was read", where=self._top.shown(found.path), do=do)
        return digest

    def _digest(self, handle: int, size: int) -> str | None:
        """Returns the digest of ``size`` bytes, or None if there are fewer or the work was stopped."""
        if size < LARGE and len(data := os.read(handle, size)) == size:
            return hashlib.sha256(data).hexdigest()
        os.lseek(handle, 0, os.SEEK_SET)
        digest, left = hashlib.sha256(), size
        while left and not self._stop.is_set():
            data = os.read(handle, left if left < CHUNK else CHUNK)
            if not data:
                return None
            digest.update(data)
            left -= len(data)
            self._add(len(data) if size >= LARGE else 0)
        return None if left else digest.hexdigest()

    def _add(self, count: int) -> None:
        with self._lock:
            self._bytes_done += count


def _batches(found: list[Found]) -> Iterator[list[Found]]:
    """Yields files of one folder in groups that are worth a thread's turn."""
    for _, group in groupby(sorted(found, key=lambda file: file.folder), key=lambda file: file.folder):
        files = list(group)
        yield from (files[start : start + BATCH_FILES] for start in range(0, len(files), BATCH_FILES))
