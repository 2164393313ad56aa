"""Activations on disk, so that a second look at the same inputs in the same model costs no forward pass.

One safetensors file holds the rows of one layer of one data set in one model, and its name is a digest of all that
they depend on: the model's weights, buffers and structure, the inputs themselves (not only where they were read from,
so that two selections of rows differ), the layer with its reduction, the kind of device, and the versions of capture
and of torch. Hashing costs what reading memory costs, about a second for 2 GB; no Python object per input is made.

Files are written under a temporary name and renamed, never changed, mapped into memory for reading, and checked by a
checksum before their first use; a damaged one is removed and made anew. Several processes may share a folder.
"""

import hashlib
import os
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import torch
from torch import Tensor, nn

from theriac.detect.inputs.observing import Inputs, Observations, Seen, observe
from theriac.detect.inputs.saving import weights_digest
from theriac.errors import Refused
from theriac.files import cache_folder
from theriac.models import activations, weights

ROWS, CHECKSUM = "rows", "crc32"
PREDICTED, LABELS = "\0predicted", "\0labels"
_TYPES = {torch.float32: "F32", torch.int64: "I64"}
_NUMPY = {"F32": np.float32, "I64": np.int64}
_STALE = 24 * 3600.0


class ActivationCache:
    """Tensors by key in a folder that stays below ``max_bytes``: what was used least recently goes first.

    Args:
        folder: Where; below the user's cache folder if None.
        max_bytes: Bytes that all files together may take.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = 16 << 30) -> None:
        self.folder = cache_folder() / "activations" if folder is None else folder
        self.max_bytes = max_bytes
        self._checked: dict[str, tuple[int, int, int]] = {}

    def find(self, key: str, count: int) -> Tensor | None:
        """Returns the tensor of ``count`` rows kept under ``key``, mapped into memory, or None if there is none.

        A file that is damaged is removed.
        """
        path = self._path(key)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                header = weights.read_header(path)
                entry = header.entries[ROWS]
                if entry.shape[0] != count:
                    raise ValueError("of another number of inputs")
                mark = (status.st_ino, status.st_mtime_ns, status.st_size)
                rows = np.memmap(file, _NUMPY[entry.dtype], "c", entry.start, entry.shape)
                if self._checked.get(key) != mark:
                    if f"{zlib.crc32(rows.reshape(-1).view(np.uint8).data):08x}" != header.metadata.get(CHECKSUM):
                        raise ValueError("of another checksum")
                    self._checked[key] = mark
            with suppress(OSError):  # the time of use; that of writing stays
                os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
            return torch.from_numpy(rows)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, Refused):
            with suppress(OSError):
                path.unlink()
            return None

    def writer(self, key: str, count: int) -> "Writer":
        """Returns a context manager that takes ``count`` rows for ``key``, batch by batch."""
        return Writer(self, self._path(key), count)

    def __len__(self) -> int:
        return len(self._files())

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum(status.st_size for _, status in self._files())

    def shrink(self) -> None:
        """Removes the files used least recently until all together fit, and what killed processes have left."""
        files = sorted(self._files(), key=lambda item: item[1].st_atime_ns)
        total = sum(status.st_size for _, status in files)
        for path, status in files:
            if total <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= status.st_size
        for path in self.folder.glob(".*.part"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - _STALE:
                    path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self.folder.glob("[!.]*.safetensors"):
            with suppress(OSError):  # another process may have removed it
                found.append((path, path.stat()))
        return found


class Writer:
    """Writes one tensor batch by batch; the file exists only if all its rows came.

    A cache that cannot be written (a full disk, rows of changing shape) is no reason to stop the work: it is then
    just not there.
    """

    def __init__(self, cache: ActivationCache, path: Path, count: int) -> None:
        self.cache, self.path, self.count = cache, path, count
        self._part: _Part | None = None
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        part = self._part
        if part is None:
            return
        try:
            if kind is None and not self._failed and part.done == self.count:
                part.header(self.count)
                part.file.close()
                os.utime(part.path, ns=(time.time_ns(), time.time_ns()))  # the file system's own clock is coarse
                part.path.replace(self.path)
                self.cache.shrink()
        except OSError:
            pass
        finally:
            with suppress(OSError):
                part.file.close()
            part.path.unlink(missing_ok=True)

    def write(self, rows: Tensor) -> None:
        """Appends a batch of rows."""
        if self._failed:
            return
        try:
            rows = rows.detach().cpu().contiguous()
            if self._part is None:
                self._part = self._begin(rows)
            self._part.write(rows)
        except (OSError, ValueError, KeyError):
            self._failed = True

    def _begin(self, rows: Tensor) -> "_Part":
        if self.count * rows[0].nbytes > self.cache.max_bytes:
            raise ValueError("larger than the whole cache")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{self.path.stem[:16]}.", suffix=".part", dir=self.path.parent)
        part = _Part(os.fdopen(handle, "r+b"), Path(name), _TYPES[rows.dtype], tuple(rows.shape[1:]))
        part.header(self.count)
        return part


@dataclass
class _Part:
    """A file under way."""

    file: BinaryIO
    path: Path
    dtype: str
    shape: tuple[int, ...]
    done: int = 0
    checksum: int = 0

    def header(self, count: int) -> None:
        """Writes the header; with any checksum it is equally long, so that it can be put in when all is known."""
        tensor = weights.Tensor(self.dtype, (count, *self.shape), lambda: ())
        self.file.seek(0)
        weights.write(self.file, {ROWS: tensor}, {CHECKSUM: f"{self.checksum:08x}"})

    def write(self, rows: Tensor) -> None:
        """Appends rows.

        Raises:
            ValueError: If they are of another shape than the first ones.
        """
        if (_TYPES[rows.dtype], tuple(rows.shape[1:])) != (self.dtype, self.shape):
            raise ValueError("rows of another shape")
        data = rows.reshape(-1).view(torch.uint8).numpy().data
        self.file.write(data)
        self.checksum = zlib.crc32(data, self.checksum)
        self.done += len(rows)


class CachedObservations(Observations):
    """Observations that are made once and read from a cache afterwards, layer by layer.

    Args:
        source: The observations.
        cache: Where to keep them.
    """

    def __init__(self, source: Observations, cache: ActivationCache) -> None:
        super().__init__(source.model, source.data, source.layers, source.batch_size)
        self.cache = cache
        self._data: str | None = None
        self._model: tuple[tuple[object, ...], str] | None = None

    def __iter__(self) -> Iterator[Seen]:
        keys = self._keys()
        found = {name: self.cache.find(key, len(self)) for name, key in keys.items()}
        known = {name: rows for name, rows in found.items() if rows is not None}
        if len(known) == len(keys):
            yield from self._read(known)
        else:
            yield from self._make(known, keys)

    def _read(self, known: Mapping[str, Tensor]) -> Iterator[Seen]:
        for start in range(0, len(self), self.batch_size):
            part = slice(start, min(start + self.batch_size, len(self)))
            here = {name: rows[part].to(self.model.device) for name, rows in known.items()}
            predicted, labels = here.pop(PREDICTED), here.pop(LABELS)
            yield Seen(here, predicted, labels, lambda part=part: self.inputs_at(part))  # type: ignore[misc]

    def _make(self, known: Mapping[str, Tensor], keys: Mapping[str, str]) -> Iterator[Seen]:
        missing = [name for name in keys if name not in known]
        layers = [layer for layer in self.layers if layer not in known] or list(self.layers[:1])
        done = 0
        with ExitStack() as stack:
            writers = {name: stack.enter_context(self.cache.writer(keys[name], len(self))) for name in missing}
            for batch, labels in self.data.batches(self.batch_size, self.model.device):
                seen = observe(self.model, batch, layers, labels)
                given = seen.rows | {PREDICTED: seen.predicted, LABELS: seen.labels}
                for name, writer in writers.items():
                    writer.write(given[name])
                part = slice(done, done + len(seen))
                done += len(seen)
                rows = {
                    layer: known[layer][part].to(self.model.device) if layer in known else seen.rows[layer]
                    for layer in self.layers
                }
                yield Seen(rows, seen.predicted, seen.labels, seen._inputs)

    def _keys(self) -> dict[str, str]:
        if self._data is None:
            self._data = content_digest(self.data)
        marks = _marks(self.model)
        if self._model is None or marks is None or self._model[0] != marks:
            self._model = (marks or (), model_digest(self.model))
        usual = getattr(self.model, "reduce", "mean")
        made = f"{activations.VERSION} {torch.__version__} {self.model.device.type} {torch.float32}"
        parts = [made, self._model[1], self._data, str(usual)]
        names = (*self.layers, PREDICTED, LABELS)
        return {name: hashlib.sha256("\0\0".join([*parts, name]).encode()).hexdigest() for name in names}


def content_digest(data: Inputs) -> str:
    """Returns a digest of what ``data`` is: for a dataclass of its fields, tensors whole, else of all its batches.

    Its name does not count.
    """
    digest = hashlib.sha256(type(data).__qualname__.encode())
    if is_dataclass(data):
        for field in fields(data):
            if field.name != "name":
                _add(digest, field.name, getattr(data, field.name))
    else:
        for batch, labels in data.batches():
            _add(digest, "batch", batch)
            _add(digest, "labels", labels)
    return digest.hexdigest()


def model_digest(model: Any) -> str:
    """Returns a digest of the model's weights and of what else decides its activations, as far as it can be seen.

    That is the structure of its modules, its buffers, its configuration and plain attributes, but not its code.
    """
    net: nn.Module = getattr(model, "net", model)
    digest = hashlib.sha256(f"{type(model).__qualname__}\0{net!r}\0{getattr(net, 'config', '')}".encode())
    digest.update(weights_digest(model).encode())
    if isinstance(model, nn.Module):
        _add(digest, "buffers", dict(model.named_buffers()))
    unimportant = {"name", "sha256", "source", "training", "assumptions"}
    plain = {k: v for k, v in vars(model).items() if k not in unimportant and isinstance(v, (int, float, str, tuple))}
    _add(digest, "settings", plain)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", name: str, value: Any) -> None:
    digest.update(f"\0{name}\0".encode())
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype}{list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _add(digest, str(key), value[key])
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            _add(digest, field.name, getattr(value, field.name))
    else:
        digest.update(repr(value).encode())


def _marks(model: Any) -> tuple[object, ...] | None:
    """Returns what changes whenever a tensor of the model is changed in place or replaced; None if it cannot be told.

    It spares hashing the weights again between two iterations over the same observations.
    """
    tensors = [] if not isinstance(model, nn.Module) else [*model.parameters(), *model.buffers()]
    if not tensors or any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple((tensor.data_ptr(), tensor._version, tensor.shape) for tensor in tensors)
