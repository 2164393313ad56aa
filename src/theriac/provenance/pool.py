"""Verifying many credentials, in this process or in several."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import wait

from theriac.provenance.canonical import Document, Invalid, parse
from theriac.provenance.intake import Accepted, NotAccepted, Record, examine

BATCH = 1000
Named = tuple[str | None, bytes | Document]


@dataclass
class Examined:
    """A verified batch: what can be stored, why the rest is not, and how many bytes were read."""

    records: list[Record] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    kept_out: list[str] = field(default_factory=list)
    size: int = 0


def examine_batch(batch: list[Named], accepted: Accepted) -> Examined:
    """Verifies credentials; each may have the name of its file, for messages."""
    examined = Examined()
    for name, credential in batch:
        examined.size += len(credential) if isinstance(credential, bytes) else 0
        try:
            examined.records.append(examine(credential, accepted))
        except NotAccepted as error:
            examined.kept_out.append(f"{name or _id(credential)}: {error}")
        except Invalid as error:
            examined.refused.append(f"{name}: {error}" if name else str(error))
    return examined


def examine_all(credentials: Iterable[Named], accepted: Accepted, workers: int) -> Iterator[Examined]:
    """Yields verified batches in the order of the credentials."""
    iterator = iter(credentials)
    if workers < 1:
        while batch := list(islice(iterator, BATCH)):
            yield examine_batch(batch, accepted)
        return
    context = multiprocessing.get_context("spawn")  # the parent may have threads, which a fork would lose
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        running: deque[Future[Examined]] = deque()
        try:
            while True:
                while len(running) < 2 * workers and (batch := list(islice(iterator, BATCH))):
                    running.append(pool.submit(examine_batch, batch, accepted))
                if not running:
                    return
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _end_with_parent() -> None:
    """Ends this process as soon as the parent is gone; a killed one would leave it waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()


def _id(credential: bytes | Document) -> str:
    document = parse(credential) if isinstance(credential, bytes) else credential
    return str(document.get("id"))[:500]
