"""An unpickler that imports nothing: every name in the file becomes an inert stand-in, or the file is refused.

Classes of known libraries become :class:`Stub`, which only keeps the state that it is given; a handful of functions
that rebuild tensors become ours, which check bounds and only note where a tensor's bytes are. Every object that the
pickle can get hold of refuses to have its attributes set, so that no later opcode can change what an earlier one was
checked for.
"""

import io
import math
import pickle
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NoReturn

from theriac.errors import Refused
from theriac.models.archive import Member
from theriac.models.weights import ITEM_SIZES

_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip
_STORAGES = {
    "BoolStorage": "BOOL", "ByteStorage": "U8", "CharStorage": "I8", "ShortStorage": "I16", "IntStorage": "I32",
    "LongStorage": "I64", "HalfStorage": "F16", "BFloat16Storage": "BF16", "FloatStorage": "F32",
    "DoubleStorage": "F64",
}  # fmt: skip

_TORCH_NN = re.compile(
    r"torch\.nn\.(parameter|parallel\.(data_parallel|distributed)|modules\.(activation|adaptive|batchnorm|"
    r"channelshuffle|container|conv|distance|dropout|flatten|fold|instancenorm|linear|loss|module|normalization|padding|pixelshuffle|"
    r"pooling|rnn|sparse|transformer|upsampling))"
)
_LIBRARIES = re.compile(
    r"(torchvision\.(models|ops)|timm\.(models|layers)|theriac\.models|transformers\.models|"
    r"transformers\.(activations|configuration_utils|modeling_utils|pytorch_utils|generation))(\.[a-z_][a-z0-9_]*)*"
)
_CLASS_NAME = re.compile(r"_?[A-Z][A-Za-z0-9_]*")
_FUNCTIONAL = {
    "relu", "relu6", "gelu", "silu", "mish", "elu", "selu", "celu", "leaky_relu", "hardswish", "hardsigmoid",
    "hardtanh", "sigmoid", "tanh", "softplus",
}  # fmt: skip
_FUNCTIONAL_MODULES = {"torch.nn.functional", "torch._C._nn", "timm.layers.activations"}
_ENUMERATIONS = {("timm.layers.format", "Format"), ("timm.models.layers.format", "Format")}
_MAX_RANK = 16


class Inert:
    """Base of everything that a pickle can get hold of: it cannot be changed from inside the pickle."""

    __slots__ = ()

    def __setstate__(self, state: object) -> NoReturn:
        raise Refused("it changes an object that models do not change")


class Stub(Inert):
    """Stands for an instance of a class that is never imported; ``state`` would be the instance's ``__dict__``."""

    __slots__ = ("state",)
    full_name: ClassVar[str]
    enumeration: ClassVar[bool] = False
    state: dict[str, Any] | None

    def __new__(cls, *arguments: object) -> "Stub":
        """Makes a stand-in without a state; only members of enumerations are made from an argument."""
        if arguments and not (cls.enumeration and len(arguments) == 1 and type(arguments[0]) in (str, int)):
            raise Refused(f"it calls {cls.full_name} with arguments")
        made = object.__new__(cls)
        made.state = None
        return made

    def __setstate__(self, state: object) -> None:  # type: ignore[override]
        if self.state is not None or not isinstance(state, dict) or not all(map(_plain_name, state)):
            raise Refused(f"it gives {self.full_name} a state that is not a plain one")
        self.state = dict(state)


def _plain_name(name: object) -> bool:
    return type(name) is str and not name.startswith("__")


class Dict(dict[Any, Any], Inert):
    """Stands for an OrderedDict; its own attributes (a state dict's ``_metadata``) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:  # type: ignore[override]
        pass


class Partial(Inert):
    """Stands for a ``functools.partial`` of a class, as layers keep to make more layers; its arguments are dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:  # type: ignore[override]
        pass


class Dtype(Inert):
    """A torch dtype by its name in safetensors; ``None`` stands for a storage of plain bytes."""

    __slots__ = ("name",)

    def __init__(self, name: str | None) -> None:
        self.name = name


class Storage(Inert):
    """Bytes of the archive that tensors look into."""

    __slots__ = ("dtype", "member")

    def __init__(self, dtype: str | None, member: Member) -> None:
        self.dtype, self.member = dtype, member


class TensorView(Inert):
    """Where a tensor's numbers are: element ``i`` is at ``start + sum(i * strides)`` elements of the storage."""

    __slots__ = ("dtype", "offset", "shape", "storage", "strides")

    def __init__(
        self, storage: Storage, dtype: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self.storage, self.dtype, self.offset, self.shape, self.strides = storage, dtype, offset, shape, strides


class Builder(Inert):
    """Stands for a function that a pickle may call."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        """Returns what our function makes of the pickle's arguments."""
        return self._function(*arguments)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorView:
    """``torch._utils._rebuild_tensor_v2``: (storage, offset, size, stride, requires_grad, hooks, metadata)."""
    if type(storage) is not Storage or storage.dtype is None:
        raise Refused("a tensor is not built on a storage")
    return _view(storage, storage.dtype, offset, shape, strides, rest[1:])


def _tensor_v3(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorView:
    """``torch._utils._rebuild_tensor_v3``: as above, with the dtype before the metadata."""
    if type(storage) is not Storage or len(rest) < 3 or type(rest[2]) is not Dtype or rest[2].name is None:
        raise Refused("a tensor is not built on a storage and a type")
    return _view(storage, rest[2].name, offset, shape, strides, (rest[1], *rest[3:]))


def _view(storage: Storage, dtype: str, offset: Any, shape: Any, strides: Any, extras: Iterable[Any]) -> TensorView:
    if any(extra for extra in extras):
        raise Refused("a tensor has hooks, or a conjugate or negative view")
    numbers = (offset, *shape, *strides) if type(shape) is tuple and type(strides) is tuple else (None,)
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers) or not len(shape) == len(strides) <= _MAX_RANK:
        raise Refused("a tensor has sizes, strides or an offset that are negative, huge or not numbers")
    room = (storage.member.end - storage.member.start) // ITEM_SIZES[dtype]
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > room:
        raise Refused(f"a tensor of shape {list(shape)} is larger than its storage of {room} numbers")
    if offset > room or (math.prod(shape) > 0 and last >= room):
        raise Refused(f"a tensor reaches to number {last} of a storage of {room}")
    return TensorView(storage, dtype, offset, shape, strides)


def _parameter(data: Any, requires_grad: Any = None, hooks: Any = None, state: Any = None) -> TensorView:
    """``torch._utils._rebuild_parameter``, also with a state of Python attributes, which is dropped."""
    if type(data) is not TensorView or hooks:
        raise Refused("a parameter is not a plain tensor, or has hooks")
    return data


def _from_type(function: Any, kind: Any, arguments: Any, state: Any) -> TensorView:
    """``torch._tensor._rebuild_from_type_v2``: a tensor that carries Python attributes, which are dropped."""
    made = function(*arguments) if type(function) is Builder and type(arguments) is tuple else None
    if type(made) is not TensorView or not (isinstance(kind, type) and issubclass(kind, Stub)):
        raise Refused("a tensor is rebuilt by something else than torch's functions")
    return made


def _size(sizes: Any) -> tuple[Any, ...]:
    if not isinstance(sizes, list | tuple):
        raise Refused("a torch.Size is not made from a list")
    return tuple(sizes)


def _set(items: Any = ()) -> frozenset[Any]:
    if not isinstance(items, list | tuple) or not all(type(item) in (str, int) for item in items):
        raise Refused("a set holds something else than texts and numbers")
    return frozenset(items)


def _ordered_dict() -> Dict:
    return Dict()


def _device(*arguments: Any) -> str:
    return "cpu"  # wherever the tensors were, they are read on the CPU


def _partial(function: Any) -> Partial:
    if not (isinstance(function, type) and issubclass(function, Stub)):
        raise Refused("functools.partial is applied to something else than a class")
    return Partial()


def _class(module: str, name: str, enumeration: bool = False) -> type[Stub]:
    full_name = f"{module}.{name}"
    return type(f"Stub_{name}", (Stub,), {"__slots__": (), "full_name": full_name, "enumeration": enumeration})


_TABLE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Builder(_ordered_dict),
    ("builtins", "set"): Builder(_set),
    ("__builtin__", "set"): Builder(_set),
    ("functools", "partial"): Builder(_partial),
    ("torch", "Size"): Builder(_size),
    ("torch", "device"): Builder(_device),
    ("torch", "Tensor"): _class("torch", "Tensor"),
    ("torch._utils", "_rebuild_tensor_v2"): Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Builder(_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): Builder(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Builder(_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): Builder(_from_type),
    ("torch.storage", "UntypedStorage"): Dtype(None),
    **{("torch", name): Dtype(dtype) for name, dtype in (_DTYPES | _STORAGES).items()},
}


def allowed(module: str, name: str) -> bool:
    """Returns whether a pickle may refer to ``module.name``; everything that is not known is not allowed."""
    return _stand_in(module, name) is not None


def _stand_in(module: str, name: str) -> Any:
    if (module, name) in _TABLE:
        return _TABLE[module, name]
    if (module, name) in _ENUMERATIONS:
        return _class(module, name, enumeration=True)
    if module in _FUNCTIONAL_MODULES and name in _FUNCTIONAL:
        return _class(module, name)
    known = _TORCH_NN.fullmatch(module) or _LIBRARIES.fullmatch(module)
    if known and _CLASS_NAME.fullmatch(name) and sys.stdlib_module_names.isdisjoint(module.split(".")):
        return _class(module, name)
    return None


class StubUnpickler(pickle.Unpickler):
    """Unpickles ``data`` into stubs and tensor views; ``members`` are the archive's storages by name."""

    def __init__(self, data: bytes, members: Mapping[str, Member]) -> None:
        super().__init__(io.BytesIO(data))
        self._members = members
        self._stand_ins: dict[tuple[str, str], Any] = {}
        self.used: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in of a name; nothing is imported."""
        if (module, name) not in self._stand_ins:
            stand_in = _stand_in(module, name)
            if stand_in is None:
                raise Refused(f"it refers to {module}.{name}")
            self._stand_ins[module, name] = stand_in
        return self._stand_ins[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        """Returns the storage ``("storage", type, key, location, number of elements)``."""
        if type(pid) is not tuple or len(pid) != 5 or pid[0] != "storage" or type(pid[1]) is not Dtype:
            raise Refused("it has a persistent id that is not a storage's")
        dtype, key, count = pid[1].name, pid[2], pid[4]
        member = self._members.get(f"data/{key}") if type(key) is str else None
        if member is None:
            raise Refused(f"it refers to the storage {str(key)[:40]!r}, which the archive does not have")
        size = ITEM_SIZES[dtype] if dtype else 1
        if type(count) is not int or count * size != member.end - member.start:
            raise Refused(f"storage {key} is said to have {count} numbers, but has {member.end - member.start} bytes")
        self.used.add(member.name)
        return Storage(dtype, member)
