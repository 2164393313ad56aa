"""Converting a pickle of torch to safetensors: what runs in the sandboxed child.

Nothing here imports torch, numpy or anything that the file names: the standard library is enough, and starts quickly.
The tensors' bytes go from the memory-mapped original straight to the output, so that memory does not grow with the
model.
"""

import itertools
import math
import mmap
import operator
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from theriac.errors import Refused
from theriac.models import weights
from theriac.models.archive import read, read_archive
from theriac.models.pickles import MAX_BYTES, walk
from theriac.models.stubs import Stub, StubUnpickler, TensorView, allowed

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema", "model_ema", "ema")
_MAX_DEPTH = 64
_MAX_TENSORS = 50_000
_MAX_MODULES = 50_000
_MAX_SETTINGS = 500
_MAX_TEXT = 64  # characters of a setting that is a text
_SLACK = 64 << 20  # bytes that tied weights may add, however small the file
_PIECE = 1 << 20  # numbers written at once
_FORMATS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
_LEGACY_PARTS = 4  # magic number, protocol version, system information, object


def convert(source: int, target: int) -> dict[str, Any]:
    """Reads a pickle from one file descriptor and writes its tensors to another as safetensors.

    Returns:
        ``reason`` (``None`` if all went well), ``globals``, ``pickled_class``, ``pickled_name``, ``modules`` and
        ``notes``.
    """
    report: dict[str, Any] = {"reason": None, "globals": [], "modules": {}, "notes": []}
    report |= {"pickled_class": None, "pickled_name": None}
    data = mmap.mmap(source, 0, access=mmap.ACCESS_READ)
    try:
        tensors = _read(data, report)
        with os.fdopen(target, "wb") as file:
            weights.write(file, {name: _streamed(data, view) for name, view in tensors.items()}, {})
    except Refused as refusal:
        report["reason"] = refusal.what
    return report


def _read(data: mmap.mmap, report: dict[str, Any]) -> dict[str, TensorView]:
    if data[:4] != b"PK\3\4":
        raise Refused(_legacy(data, report))
    members = read_archive(data)
    text = read(data, members["data.pkl"], MAX_BYTES)
    _check_pickle(text, report)
    unpickler = StubUnpickler(text, members)
    try:
        root = unpickler.load()
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"its pickle is broken: {type(error).__name__}: {error}"[:300]) from None
    tensors = _Tree(report).tensors(root)
    if unused := {name for name in members if name.startswith("data/")} - unpickler.used:
        raise Refused(f"the archive holds {len(unused)} storages that nothing refers to, for instance {min(unused)}")
    total = sum(math.prod(view.shape) * weights.ITEM_SIZES[view.dtype] for view in tensors.values())
    if total > 2 * len(data) + _SLACK:
        raise Refused(f"its tensors would take {total} bytes, the file has {len(data)}")
    return tensors


def _check_pickle(text: bytes, report: dict[str, Any]) -> None:
    found = walk(text)
    report["globals"] = sorted(f"{module}.{name}" for module, name in found.globals)
    if bad := sorted(f"{module}.{name}" for module, name in found.globals if not allowed(module, name)):
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise Refused(f"it refers to {', '.join(name[:100] for name in bad[:3])}{more}, which no model needs")
    if found.problems:
        raise Refused(found.problems[0])
    if found.length != len(text):
        raise Refused(f"{len(text) - found.length} bytes follow the end of its pickle")


def _legacy(data: mmap.mmap, report: dict[str, Any]) -> str:
    """Lists the globals of a file that is pickles one after the other; returns why it is refused."""
    position, names = 0, set()
    for _ in range(_LEGACY_PARTS):
        found = walk(data[position : position + MAX_BYTES])
        names |= found.globals
        position += found.length
        if not found.length or found.problems:
            break
    report["globals"] = sorted(f"{module}.{name}" for module, name in names)
    bad = [f"{module}.{name}" for module, name in sorted(names) if not allowed(module, name)]
    about = f" (it refers to {', '.join(bad[:3])})" if bad else ""
    return f"a bare pickle, or a file of PyTorch before 1.6: save it again with a newer torch.save{about}"


class _Tree:
    """Walks what the unpickler made and collects its tensors under their names in a state dict."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        self.found: dict[str, TensorView] = {}
        self.nodes = 0

    def tensors(self, root: Any) -> dict[str, TensorView]:
        if isinstance(root, Stub):
            self.report["pickled_class"] = root.full_name
            self.report["pickled_name"] = _name(root.state or {})
            self.module(root, "", 0)
        elif isinstance(root, dict):
            if any(isinstance(value, TensorView) for value in root.values()):
                self.state_dict(root)
            else:
                return self.wrapped(root)
        else:
            raise Refused("it holds neither a module nor a state dict")
        if not self.found:
            raise Refused("it holds no tensors")
        return self.found

    def wrapped(self, root: dict[Any, Any]) -> dict[str, TensorView]:
        key = next((key for key in _WRAPPERS if isinstance(root.get(key), Stub | dict) and root[key]), None)
        if key is None or self.nodes:
            raise Refused(f"it is a dictionary without a model; looked for {', '.join(_WRAPPERS)}")
        self.nodes += 1
        self.report["notes"].append(f"the weights are those under {key!r}")
        return self.tensors(root[key])

    def state_dict(self, tensors: dict[Any, Any]) -> None:
        for name, value in tensors.items():
            if name == "_metadata":
                continue
            if type(name) is not str or type(value) is not TensorView:
                raise Refused(f"its state dict has an entry {str(name)[:80]!r} that is not a tensor")
            self.add(name, value)

    def module(self, stub: Stub, prefix: str, depth: int) -> None:
        self.nodes += 1
        state = stub.state or {}
        if depth > _MAX_DEPTH or self.nodes > _MAX_MODULES or len(state) > _MAX_SETTINGS:
            raise Refused("its modules are nested too deeply, are too many or have too many attributes")
        if not isinstance(state.get("_modules"), dict):
            raise Refused(f"{prefix[:-1] or 'its root'}, a {stub.full_name}, is not a module")
        if "forward" in state or state.get("_forward_hooks") or state.get("_forward_pre_hooks"):
            raise Refused(
                f"module {prefix[:-1]!r} has hooks or its own forward: its weights do not say what it computes"
            )
        self.report["modules"][prefix[:-1]] = {"class": stub.full_name, **_settings(state)}
        skipped = state.get("_non_persistent_buffers_set", frozenset())
        if not isinstance(skipped, set | frozenset):
            raise Refused(f"module {prefix[:-1] or 'root'} does not say which buffers it saves")
        for group in ("_parameters", "_buffers"):
            for name, value in self.group(state, group).items():
                if value is None or (group == "_buffers" and name in skipped):
                    continue
                if type(value) is not TensorView:
                    raise Refused(f"{prefix}{name} is not a tensor")
                self.add(prefix + name, value)
        for name, child in self.group(state, "_modules").items():
            if child is not None:
                if not isinstance(child, Stub):
                    raise Refused(f"{prefix}{name} is not a module")
                self.module(child, f"{prefix}{name}.", depth + 1)

    def group(self, state: Mapping[str, Any], name: str) -> dict[str, Any]:
        group = state.get(name) or {}
        if not isinstance(group, dict) or not all(type(key) is str and key and "." not in key for key in group):
            raise Refused(f"a module's {name} is not a dictionary of names")
        return group

    def add(self, name: str, value: TensorView) -> None:
        if name in self.found:
            raise Refused(f"it has two tensors named {name[:80]!r}")
        if len(self.found) >= _MAX_TENSORS:
            raise Refused(f"it has more than {_MAX_TENSORS} tensors")
        self.found[name] = value


def _name(state: Mapping[str, Any]) -> str | None:
    """Returns what timm calls the network: it keeps the configuration of the pretrained weights."""
    config = state.get("pretrained_cfg")
    name = config.get("architecture") if isinstance(config, dict) else None
    return name if type(name) is str else None


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the plain attributes of a module: what decides, beside its weights, what it computes."""
    found = {}
    for key, value in state.items():
        flat = type(value) is tuple and len(value) <= 8 and all(map(_plain, value))
        if not key.startswith("_") and len(key) <= _MAX_TEXT and (_plain(value) or flat):
            found[key] = value
    return found


def _plain(value: object) -> bool:
    return type(value) in (bool, int, float, type(None)) or (type(value) is str and len(value) <= _MAX_TEXT)


def _streamed(data: mmap.mmap, view: TensorView) -> weights.Tensor:
    def pieces() -> Iterator[bytes | memoryview]:
        member, size = view.storage.member, weights.ITEM_SIZES[view.dtype]
        room = (member.end - member.start) // size
        numbers = memoryview(data)[member.start : member.start + room * size].cast(_FORMATS[size])
        count = math.prod(view.shape)
        if view.strides == _row_major(view.shape) or count <= 1:
            for start in range(view.offset, view.offset + count, _PIECE):
                yield numbers[start : min(start + _PIECE, view.offset + count)]
            return
        *outer, length = view.shape
        *steps, step = view.strides
        for index in itertools.product(*map(range, outer)):
            start = view.offset + sum(map(operator.mul, index, steps))
            row = numbers[start : start + (length - 1) * step + 1 : max(step, 1)].tobytes()
            yield row if step else row * length

    return weights.Tensor(view.dtype, view.shape, pieces)


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
