"""Safetensors files: the header read with suspicion before any library sees the file, and a writer that streams.

The format: 8 bytes of little-endian header length, a JSON object ``name -> {dtype, shape, data_offsets}``, then the
tensors' bytes. Only the standard library and numpy are used here, so that looking into a file does not cost the import
of torch.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from theriac.errors import Refused, UserError

ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip

_MAX_HEADER = 8 << 20
_MAX_METADATA = 4 << 20
_MAX_TENSORS = 100_000
_MAX_NAME = 1024
_MAX_RANK = 16


@dataclass(frozen=True)
class Entry:
    """One tensor of a safetensors file: ``start`` and ``end`` are offsets into the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Tensor:
    """One tensor to be written: ``pieces()`` yields its little-endian bytes in row-major order."""

    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterable[bytes | memoryview]]


@dataclass(frozen=True)
class Header:
    """The tensors of a safetensors file in the order of their bytes, and its free-text metadata."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor."""
        return {name: entry.shape for name, entry in self.entries.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(entry.end - entry.start for entry in self.entries.values())


def looks_like_safetensors(start: bytes) -> bool:
    """Returns whether a file's first bytes could begin a safetensors header, whatever the length says."""
    return start[8:9] == b"{"


def read_header(path: Path) -> Header:
    """Returns the header of a safetensors file after checking every number in it against the size of the file.

    Raises:
        Refused: If the file is truncated, or the header is not exactly what the format allows.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise Refused(f"truncated: the header is said to be {length} bytes long, the file has {size}")
        if length > _MAX_HEADER:
            raise Refused(f"the header is said to be {length} bytes long, more than {_MAX_HEADER}")
        text = file.read(length)
    try:
        header = _parse(text)
        return Header(_entries(header, 8 + length, size), _metadata(header))
    except (ValueError, RecursionError) as error:
        raise Refused(f"not a sound safetensors header: {error}") from None


def _parse(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise ValueError("it does not start with '{'")
    header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    if len(header) > _MAX_TENSORS:
        raise ValueError(f"{len(header)} tensors, more than {_MAX_TENSORS}")
    return dict(header)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def _metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ must map texts to texts")
    if sum(map(len, (*metadata, *metadata.values()))) > _MAX_METADATA:
        raise ValueError(f"__metadata__ is longer than {_MAX_METADATA} characters")
    return metadata


def _entries(header: dict[str, Any], start: int, size: int) -> dict[str, Entry]:
    entries = {name: _entry(name, value, start) for name, value in header.items() if name != "__metadata__"}
    if not entries:
        raise ValueError("no tensors")
    entries = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)))
    position = start
    for name, entry in entries.items():
        if entry.start != position:
            what = "overlaps another one" if entry.start < position else "leaves a hole before it"
            raise ValueError(f"tensor {name!r} {what}")
        position = entry.end
    if position != size:
        what = "the file is truncated" if position > size else "bytes follow the last tensor"
        raise ValueError(f"the tensors end at byte {position} but the file at byte {size}: {what}")
    return entries


def _entry(name: str, value: Any, start: int) -> Entry:
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise ValueError(f"tensor name {name[:40]!r}… is empty, too long or not printable")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} must have dtype, shape and data_offsets, nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise ValueError(f"tensor {name!r} has dtype {str(dtype)[:40]!r}; known are {', '.join(ITEM_SIZES)}")
    if not _sizes(shape) or len(shape) > _MAX_RANK:
        raise ValueError(f"tensor {name!r} has a shape that is not a short list of sizes")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"tensor {name!r} has data_offsets that are not a pair begin <= end")
    if math.prod(shape) * ITEM_SIZES[dtype] != offsets[1] - offsets[0]:
        raise ValueError(f"tensor {name!r} of shape {shape} and dtype {dtype} does not fill its data_offsets {offsets}")
    return Entry(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 48 for n in value)


def check_finite(path: Path, header: Header) -> None:
    """Reads every floating-point tensor once, in pieces.

    Raises:
        UserError: If a tensor holds NaN or infinity.
    """
    import numpy as np

    exponents = {
        "F16": ("<u2", 0x7C00),
        "BF16": ("<u2", 0x7F80),
        "F32": ("<u4", 0x7F800000),
        "F64": ("<u8", 0x7FF << 52),
    }
    with path.open("rb") as file:
        for name, entry in header.entries.items():
            if entry.dtype not in exponents:
                continue
            dtype, mask = exponents[entry.dtype]
            file.seek(entry.start)
            for start in range(entry.start, entry.end, 1 << 20):
                bits = np.frombuffer(file.read(min(1 << 20, entry.end - start)), dtype=dtype)
                if bool(((bits & mask) == mask).any()):
                    raise UserError(f"tensor {name!r} holds NaN or infinity", do="train the model again")


def write(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file whose bytes depend on its arguments only (the library's order of metadata varies).

    Tensors are written one by one in pieces, widest type first so that each is aligned.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-ITEM_SIZES[item[1].dtype], item[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name, tensor in ordered:
        end = position + math.prod(tensor.shape) * ITEM_SIZES[tensor.dtype]
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        for piece in tensor.pieces():
            file.write(piece)
