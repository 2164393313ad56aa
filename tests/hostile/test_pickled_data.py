"""Pickles that call nothing but lie about tensors, or try to use up memory and time."""

import struct
from collections.abc import Callable

import pytest

Refusal = Callable[[bytes], str]
Pack = Callable[[bytes, dict[str, bytes]], bytes]

ONES = struct.pack("<4f", 1, 1, 1, 1)
MODULE = "torch.nn.modules.linear"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def row(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def numbers(values: tuple[int, ...]) -> bytes:
    return row(*map(number, values))


def dictionary(**values: bytes) -> bytes:
    return b"}" + b"".join(text(name) + value + b"s" for name, value in values.items())


def storage(key: str = "0", count: int = 4, kind: bytes = b"ctorch\nFloatStorage\n") -> bytes:
    return row(text("storage"), kind, text(key), text("cpu"), number(count)) + b"Q"


def tensor(
    shape: tuple[int, ...] = (4,), strides: tuple[int, ...] = (1,), offset: int = 0, on: bytes = b"", more: bytes = b""
) -> bytes:
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = row(on or storage(), number(offset), numbers(shape), numbers(strides), b"\x89", more or hooks)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def module(**groups: bytes) -> bytes:
    filled = {"_parameters": b"}", "_buffers": b"}", "_modules": b"}"} | groups
    return f"c{MODULE}\nLinear\n".encode() + b")\x81" + dictionary(**filled) + b"b"


LIES: dict[str, bytes] = {
    "huge declared tensor": tensor((1 << 40,)),
    "huge declared rank": tensor((1,) * 17, (1,) * 17),
    "shape whose product overflows": tensor((1 << 32, 1 << 32), (1, 1)),
    "negative stride": tensor((2,), (-1,), 3),
    "negative offset": tensor((2,), (1,), -1),
    "negative size": tensor((-4,), (1,)),
    "offset out of bounds": tensor((2,), (1,), 3),
    "offset far out of bounds": tensor((1,), (1,), 1 << 40),
    "empty tensor out of bounds": tensor((0,), (1,), 5),
    "stride out of bounds": tensor((2, 2), (1, 3)),
    "expanded beyond its storage": tensor((1 << 20, 4), (0, 1)),
    "shape and strides of different lengths": tensor((2, 2), (1,)),
    "sizes that are no integers": tensor(on=storage()).replace(numbers((4,)), row(b"\x88"), 1),
    "offset that is a list": tensor().replace(number(0), b"]", 1),
    "shape that is a text": tensor().replace(numbers((4,)), text("4"), 1),
    "storage that is too large": tensor((8,), on=storage(count=8)),
    "storage that is too small": tensor((2,), on=storage(count=2)),
    "storage of negative size": tensor(on=storage(count=-4)),
    "storage that is missing": tensor(on=storage("7")),
    "storage outside the archive": tensor(on=storage("../../../../etc/passwd")),
    "storage with an absolute key": tensor(on=storage("/etc/passwd")),
    "storage that is the pickle": tensor(on=storage("../data.pkl")),
    "storage with a number as key": tensor(on=storage().replace(text("0"), b"K\x00")),
    "storage of complex numbers": tensor(on=storage(kind=b"ctorch\nComplexFloatStorage\n")),
    "storage of quantised numbers": tensor(on=storage(kind=b"ctorch\nQInt8Storage\n")),
    "storage of no type": tensor(on=storage(kind=text("FloatStorage"))),
    "persistent id of a module": row(text("module"), text("a"), text("b"), text("c")) + b"Q",
    "persistent id that is a text": text("posix.system") + b"Q",
    "tensor on something else": tensor(on=b"}"),
    "tensor with hooks": tensor(more=dictionary(a=b"K\x01")),
    "quantised tensor": b"ctorch._utils\n_rebuild_qtensor\n(tR",
    "sparse tensor": b"ctorch._utils\n_rebuild_sparse_tensor\n(tR",
    "device tensor from numpy": b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n(tR",
    "numpy array": b"cnumpy.core.multiarray\n_reconstruct\n(tR",
    "subclass rebuilt by a stub": b"ctorch._tensor\n_rebuild_from_type_v2\n("
    + f"c{MODULE}\nLinear\nc{MODULE}\nLinear\n".encode() + b")}tR",
    "tensor's bounds changed after the check": tensor() + b"(N" + dictionary(offset=number(1 << 30)) + b"tb",
    "parameter of a module": b"ctorch._utils\n_rebuild_parameter\n" + row(module(), b"\x88", b"}") + b"R",
}  # fmt: skip
ROOTS: dict[str, bytes] = {
    "a number": b"K\x01" + tensor() + b"\x86",
    "a tensor alone": tensor(),
    "a stub without a state": f"c{MODULE}\nLinear\n".encode() + b")\x81",
    "a module that holds a number": module(_parameters=dictionary(weight=b"K\x01")),
    "a module whose parameters are a list": module(_parameters=b"]" + tensor() + b"a"),
    "a module that holds a dictionary": module(_modules=dictionary(a=dictionary(b=tensor()))),
    "a module with its own forward": module(_parameters=dictionary(weight=tensor()), forward=b"K\x01"),
    "a module with a forward hook": module(_parameters=dictionary(w=tensor()), _forward_hooks=dictionary(a=b"K\x01")),
    "a module with two tensors of one name": module(
        _parameters=dictionary(weight=tensor()), _buffers=dictionary(weight=tensor())
    ),
    "a module with a dotted name": module(_parameters=dictionary(**{"a.b": tensor()})),
    "a module that does not say its buffers": module(
        _buffers=dictionary(a=tensor()), _non_persistent_buffers_set=text("a")
    ),
    "a state dict with code": dictionary(weight=tensor(), extra=b"cos\nsystem\n"),
    "a state dict with a number": dictionary(weight=tensor(), extra=b"K\x01"),
    "a state dict keyed by numbers": b"}K\x01" + tensor() + b"s",
    "a wrapper around nothing": dictionary(state_dict=b"}", other=dictionary(a=tensor())),
    "a wrapper around itself": b"}q\x00" + text("model") + b"h\x00s" + text("other") + tensor() + b"\x85s",
    "a wrapper in a wrapper in a wrapper": dictionary(model=dictionary(model=dictionary(model=dictionary(a=tensor())))),
    "a module with a thousand attributes": module(
        _parameters=dictionary(weight=tensor()), **{f"setting{k}": b"K\x01" for k in range(1000)}
    ),
    "a name that is not printable": dictionary(**{"weight\x1b[2J": tensor()}),
    "a name that is endless": dictionary(**{"w" * 5000: tensor()}),
}


def nested(levels: int) -> bytes:
    """A tuple of two references to a tuple of two references to …: small to write, endless to follow."""
    return b")" + b"".join(b"\x94h" + bytes([k]) + b"\x86" for k in range(levels))


def twins(levels: int) -> bytes:
    """A module with two references to a module with two references to …; the last one is under "model"."""
    entries = text("first") + module(_parameters=dictionary(w=tensor())) + b"\x94s"
    for k in range(levels):
        link = b"h" + bytes([k])
        name = "model" if k == levels - 1 else f"level {k}"
        entries += text(name) + module(_modules=dictionary(a=link, b=link)) + b"\x94s"
    return b"}" + entries


BOMBS: dict[str, bytes] = {
    "memo index": b"}r\xff\xff\xff\x7f",
    "memo index as text": b"}p2147483647\n",
    "text of 4 GB": b"X\xff\xff\xff\xff",
    "text of an exabyte": b"\x8d" + struct.pack("<Q", 1 << 60),
    "bytes of 4 GB": b"B\xff\xff\xff\xff",
    "frame of an exabyte": b"\x95" + struct.pack("<Q", 1 << 60) + b"}",
    "integer of 2 GB": b"\x8b\xff\xff\xff\x7f",
    "integer in a million digits": b"I" + b"9" * 1_000_000 + b"\n",
    "long text": text("x" * 100_000),
    "a million marks": b"(" * 1_000_000,
    "three million opcodes": b"N0" * 1_500_000 + b"}",
    "three million lists": b"]" * 3_000_000,
    "tuples a million deep": b")" + b"\x85" * 1_000_000,
    "a key a hundred thousand deep": b"})" + b"\x85" * 100_000 + b"K\x01s",
    "a key of two to the sixtieth parts": b"}" + nested(60) + b"K\x01s",
    "a module of two to the fortieth children": twins(40),
    "a module inside itself": f"c{MODULE}\nLinear\n".encode() + b")\x81q\x00" + dictionary(
        _parameters=b"}", _buffers=b"}", _modules=dictionary(a=b"h\x00")) + b"b",
    "a module a thousand deep": b"".join(
        f"c{MODULE}\nLinear\n".encode() + b")\x81}" + text("_modules") + b"}" + text("a") for _ in range(1000)
    ) + b"N" + b"ssb" * 1000,
    "two thousand names": b"".join(f"c{MODULE}\nClass{k}\n".encode() for k in range(2000)),
    "no end": b"}" + b"N" * 10,
    "nothing": b"",
    "a value left on the stack": b"}}",
    "a get from an empty memo": b"h\x05",
    "a stack that is empty": b"R",
    "a second protocol": b"\x80\x02}",
    "bytes after the end": b"}.cos\nsystem\n(X\x04\x00\x00\x00truetR",
    "text that is not UTF-8": b"X\x02\x00\x00\x00\xff\xfe",
    "protocol 9": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_lies_about_tensors_are_refused(name: str, refused: Refusal, torch_zip: Pack) -> None:
    refused(torch_zip(b"\x80\x02" + dictionary(weight=LIES[name]) + b".", {"0": ONES}))


@pytest.mark.parametrize("name", ROOTS)
def test_what_is_not_a_model_is_refused(name: str, refused: Refusal, torch_zip: Pack) -> None:
    refused(torch_zip(b"\x80\x02" + ROOTS[name] + b".", {"0": ONES}))


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name: str, refused: Refusal, torch_zip: Pack) -> None:
    end = b"" if name == "no end" else b"."
    start = b"\x80\x09" if name == "protocol 9" else b"\x80\x02"
    refused(torch_zip(start + BOMBS[name] + end, {"0": ONES}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_numbers_are_refused(value: float, refused: Refusal, torch_zip: Pack) -> None:
    pickled = b"\x80\x02" + dictionary(weight=tensor()) + b"."
    assert "NaN or infinity" in refused(torch_zip(pickled, {"0": struct.pack("<4f", 1, 2, value, 3)}))


def test_one_storage_under_a_thousand_names_is_refused(refused: Refusal, torch_zip: Pack) -> None:
    count = 1 << 18
    one = tensor((count,), on=storage(count=count))
    pickled = b"\x80\x02" + dictionary(**{f"w{k}": one for k in range(1000)}) + b"."
    assert "would take" in refused(torch_zip(pickled, {"0": bytes(4 * count)}))


def test_a_storage_that_nothing_uses_is_refused(refused: Refusal, torch_zip: Pack) -> None:
    pickled = b"\x80\x02" + dictionary(weight=tensor()) + b"."
    assert "nothing refers to" in refused(torch_zip(pickled, {"0": ONES, "1": b"cos\nsystem\n(S'true'\ntR."}))


def test_the_honest_form_of_these_files_opens(torch_zip: Pack, tmp_path: object) -> None:
    """The files above are refused for what is wrong with them, not for how these tests write files."""
    from pathlib import Path

    from theriac.models.inspection import inspect_model

    path = Path(str(tmp_path)) / "honest.pt"
    strange = dictionary(architecture=b"X\x05\x00\x00\x00a\xed\xa0\x80\x1b")  # half a character, and an escape
    roots = (
        dictionary(weight=tensor()),
        module(_parameters=dictionary(weight=tensor((2, 2), (1, 2)))),
        module(_parameters=dictionary(weight=tensor()), pretrained_cfg=strange),
    )
    for root in roots:
        path.write_bytes(torch_zip(b"\x80\x02" + root + b".", {"0": ONES}))
        found = inspect_model(str(path))
        assert (found.safe, found.reason, found.tensors) == (True, None, 1)
        assert (found.pickled_name or "").isprintable()
