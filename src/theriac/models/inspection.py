"""Looking into a model file without running anything in it.

The file is copied to a private folder while its digest is taken, so that what was looked at is what is opened. What it
is, is judged by its content, never by its suffix. Torch is not imported here.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field

from theriac.errors import Refused, UserError
from theriac.files import fetch
from theriac.finding import Record
from theriac.models import weights
from theriac.models.recognise import recognise, without_prefix
from theriac.run.sandbox import Limits, run_sandboxed

_CONVERT = "theriac.models.convert:convert"
_MEMORY = 1 << 30  # bytes for a child beside the file itself
_MAX_METADATA = 4 << 20  # characters of one metadata value
_SLOWEST = 20 << 20  # bytes per second that a child must manage

_STARTS = {
    b"PK\x03\x04": "torch zip",
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.": "torch before 1.6",
    b"\x80\x02": "pickle",
    b"\x80\x03": "pickle",
    b"\x80\x04": "pickle",
    b"\x80\x05": "pickle",
    b"\x89HDF": "HDF5",
    b"7z\xbc\xaf": "7z",
    b"\x1f\x8b": "gzip",
    b"GGUF": "GGUF",
}


class Inspection(Record):
    """What is known about a model file after looking into it.

    Attributes:
        safe: Whether theriac opens it: nothing in it can run, and every number in it was checked.
        reason: Why it is refused; ``None`` if it is safe.
        format: ``safetensors``, ``torch zip``, or what else it seems to be.
        sha256, size: Digest and bytes of the file.
        globals: Every Python name that a pickle in the file refers to.
        pickled_class, pickled_name: Class of the whole module in a pickle, and what timm called it, if it says so.
        tensors, tensor_bytes: How many tensors, and their bytes.
        architectures: What the tensors fit, the likeliest first -> number of classes of the head.
        metadata: Free text from a safetensors header; claims, not facts.
        notes: What was seen and ignored.
        protections: What was in force in the process that read the pickle.
    """

    safe: bool
    reason: str | None = None
    format: str = "unknown"
    sha256: str
    size: int
    globals: list[str] = Field(default_factory=list)
    pickled_class: str | None = None
    pickled_name: str | None = None
    tensors: int = 0
    tensor_bytes: int = 0
    architectures: dict[str, int] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    protections: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Examined:
    """An inspection together with the checked weights.

    Attributes:
        inspection: What was found.
        weights: Safetensors file that lives as long as the context; ``None`` if the original was refused.
        prefix: The wrapper's prefix that all tensor names share.
        modules: Path -> class and plain settings of each module of a whole-module pickle; empty for other files.
    """

    inspection: Inspection
    weights: Path | None = None
    prefix: str = ""
    modules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def inspect_model(path: str) -> Inspection:
    """Returns what is in a model file; a hostile or broken file gives ``safe=False`` and the reason.

    Raises:
        UserError: If there is no such file, or it cannot be read.
    """
    with examined(path) as found:
        return found.inspection


@contextmanager
def examined(path: str) -> Iterator[Examined]:
    """Yields the inspection of a model file and, if it is safe, its weights as a checked safetensors file."""
    local = fetch(path).path
    with TemporaryDirectory(prefix="theriac-") as folder:
        original = Path(folder) / "original"
        facts: dict[str, Any] = _copy(local, original)
        try:
            found = _examine(original, facts)
        except UserError as error:
            found = Examined(Inspection(safe=False, reason=_shown(error.what), **facts))
        yield found


def _examine(original: Path, facts: dict[str, Any]) -> Examined:
    """Checks the file, adding to ``facts`` what it learns on the way, so that a refusal shows it too."""
    path = original
    modules: dict[str, dict[str, Any]] = {}
    if facts["format"] in ("torch zip", "torch before 1.6", "pickle"):
        path = original.with_name("weights.safetensors")
        modules = _convert(original, path, facts)
    elif facts["format"] != "safetensors":
        raise Refused(f"not a model file that theriac opens (it looks like: {facts['format']})")
    header = weights.read_header(path)
    metadata = {_shown(key): _shown(value, _MAX_METADATA) for key, value in header.metadata.items()}
    facts |= {"tensors": len(header.entries), "tensor_bytes": header.nbytes, "metadata": metadata}
    weights.check_finite(path, header)
    prefix = without_prefix(header.entries)
    shapes = {name.removeprefix(prefix): shape for name, shape in header.shapes.items()}
    matches = recognise(shapes, facts.get("pickled_class"), facts.get("pickled_name"))
    facts["architectures"] = {match.architecture: match.num_classes for match in matches}
    unwrapped = {name.removeprefix(prefix): settings for name, settings in modules.items()}
    return Examined(Inspection(safe=True, **facts), path, prefix, unwrapped)


def _convert(original: Path, path: Path, facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Writes the tensors of a pickle to ``path`` from a sandboxed child; returns the settings of its modules."""
    size = facts["size"]
    limits = Limits(
        memory=size + _MEMORY,
        cpu_seconds=20 + size // _SLOWEST,
        file_bytes=3 * size + _MEMORY,
        seconds=40 + size // _SLOWEST,
    )
    with original.open("rb") as source, path.open("wb") as target:
        descriptors = {"source": source.fileno(), "target": target.fileno()}
        done = run_sandboxed(_CONVERT, descriptors, descriptors=tuple(descriptors.values()), limits=limits)
    facts["protections"] = done.protections
    if not isinstance(done.value, dict):
        raise Refused(f"it cannot be read safely: {done.error}")
    report: dict[str, Any] = dict(done.value)
    facts |= {"pickled_class": report["pickled_class"], "notes": report["notes"]}
    facts["pickled_name"] = _shown(report["pickled_name"] or "") or None
    if absent := [name for name, text in done.protections.items() if text.startswith("absent")]:
        facts["notes"].append(f"the pickle was read without these protections: {', '.join(absent)}")
    facts["globals"] = [_shown(name) for name in report["globals"]]
    if report["reason"] is not None:
        raise Refused(report["reason"])
    modules: dict[str, dict[str, Any]] = report["modules"]
    return modules


def _copy(path: Path, copy: Path) -> dict[str, Any]:
    """Copies a regular file while hashing it; returns its digest, size and apparent format."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UserError("is not a regular file", where=path, do="name one model file")
        if about.st_size > shutil.disk_usage(copy.parent).free:
            raise UserError(f"no space to copy {about.st_size} bytes to {copy.parent}", where=path, do="set TMPDIR")
        # Not blocking: should the file be exchanged for a FIFO by now, we read nothing instead of waiting.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    try:
        with open(handle, "rb") as source, copy.open("wb") as target:
            start = source.read(512)
            digest, size = hashlib.sha256(start), target.write(start)
            while size < about.st_size and (piece := source.read(1 << 20)):
                digest.update(piece)
                size += target.write(piece)
    except OSError as error:
        raise UserError(f"cannot copy it to {copy.parent}: {error.strerror}", where=path, do="set TMPDIR") from None
    return {"sha256": digest.hexdigest(), "size": size, "format": _format(start)}


def _format(start: bytes) -> str:
    if start[257:262] == b"ustar":
        return "tar"
    if weights.looks_like_safetensors(start):
        return "safetensors"
    return next((name for magic, name in _STARTS.items() if start.startswith(magic)), "unknown")


def _shown(text: str, limit: int = 500) -> str:
    """Returns text from the file as it may be shown on a terminal: nothing unprintable, nothing endless."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:limit])
