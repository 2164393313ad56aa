"""Safetensors files that lie; a safetensors file cannot run anything, but a reader that believes it can be hurt."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from theriac.errors import UserError
from theriac.models.architectures import build
from theriac.models.classifier import Classifier
from theriac.models.inspection import inspect_model
from theriac.models.opening import open_model
from theriac.models.saving import save_model
from theriac.models.weights import read_header

Refusal = Callable[[bytes], str]

ONES = struct.pack("<4f", 1, 1, 1, 1)


def file(header: Any, data: bytes = ONES, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**changed: Any) -> bytes:
    return file({"weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | changed})


def two(first: list[int], second: list[int]) -> bytes:
    tensors = {name: {"dtype": "F32", "shape": [2], "data_offsets": at} for name, at in (("a", first), ("b", second))}
    return file(tensors)


FILES: dict[str, bytes] = {
    "truncated data": one()[:-4],
    "truncated header": one()[:40],
    "only a length": struct.pack("<Q", 100) + b"{",
    "header length of all ones": file({"weight": {}}, length=(1 << 64) - 1),
    "header length beyond the file": file({"weight": {}}, length=1 << 20),
    "header length that overflows when 8 is added": file({"weight": {}}, length=(1 << 64) - 4),
    "header length of zero": file(b"{", length=0),
    "header that is a list": file([1]),
    "header that is no JSON": file(b"{weight: 1}"),
    "header that is not UTF-8": file(b'{"\xff\xfe": 1}'),
    "header that nests a hundred thousand deep": file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "header with NaN": file(b'{"weight":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}'),
    "header with an endless number": file(
        b'{"weight":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,16]}}'
    ),
    "header with a name twice": file(
        b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    ),
    "no tensors": file({"__metadata__": {"format": "pt"}}, b""),
    "metadata that is a number": file(
        {"__metadata__": 1, "w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    ),
    "metadata of numbers": file(
        {"__metadata__": {"a": 1}, "w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    ),
    "overlapping tensors": two([0, 8], [4, 12]),
    "the same bytes twice": two([0, 8], [0, 8]),
    "a hole": two([0, 4], [8, 16]),
    "a range beyond the file": two([0, 8], [8, 1 << 20]),
    "a range that is backwards": two([8, 0], [8, 16]),
    "a range that starts late": one(data_offsets=[4, 20]),
    "a range of one number": one(data_offsets=[0]),
    "a range of texts": one(data_offsets=["0", "16"]),
    "a range of a negative start": one(data_offsets=[-16, 0]),
    "a range of a huge number": one(data_offsets=[0, 1 << 70]),
    "huge declared tensor": one(shape=[1 << 40]),
    "shape whose product overflows": one(shape=[1 << 32, 1 << 32, 4]),
    "shape of a negative size": one(shape=[-4]),
    "shape of a fraction": one(shape=[4.0]),
    "shape of booleans": one(shape=[True, 4]),
    "shape of a hundred axes": one(shape=[1] * 99 + [4]),
    "shape that is a number": one(shape=4),
    "shape smaller than its range": one(shape=[2]),
    "dtype of garbage": one(dtype="\x00\x01"),
    "dtype that is unknown": one(dtype="F9"),
    "dtype that is a list": one(dtype=["F32"]),
    "an entry that is a list": file({"weight": [1]}),
    "an entry that lacks its dtype": file({"weight": {"shape": [4], "data_offsets": [0, 16]}}),
    "an entry with more in it": one(extra=1),
    "a name that is empty": file({"": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    "a name that a terminal obeys": file({"\x1b[2J": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    "a name of half a character": file(b'{"\\ud800":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'),
    "bytes after the last tensor": one() + b"PK\5\6",
    "NaN": file({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, struct.pack("<f", float("nan"))),
    "infinity in half precision": file({"w": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}}, b"\x00\x7c"),
    "NaN in bfloat16": file({"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, b"\xc0\x7f"),
    "NaN in double precision": file(
        {"w": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 6 + b"\xf8\x7f"
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_lie_are_refused(name: str, refused: Refusal) -> None:
    refused(FILES[name])


def test_nan_deep_inside_a_large_tensor_is_found(refused: Refusal) -> None:
    count = (3 << 20) // 4 + 1
    data = bytes(4 * (count - 1)) + struct.pack("<f", float("nan"))
    assert "'w'" in refused(file({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}, data))


def test_a_sparse_file_of_a_terabyte_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as handle:
        handle.write(one())
        handle.truncate(1 << 40)
    with pytest.raises(UserError):
        open_model(str(path))


@pytest.mark.parametrize("at", range(0, len(one()), 3))
def test_no_flipped_byte_of_a_header_passes_unseen(at: int, tmp_path: Path) -> None:
    content = bytearray(one())
    content[at] ^= 0x80
    path = tmp_path / "flipped"
    path.write_bytes(content)
    try:
        header = read_header(path)
    except UserError:
        return
    assert at >= 8 + int.from_bytes(content[:8], "little")  # a byte of the numbers themselves
    assert header.shapes == {"weight": (4,)}


CLAIMS: dict[str, dict[str, str]] = {
    "an architecture from a folder": {"architecture": "timm:local-dir:/tmp/evil"},
    "an architecture from the internet": {"architecture": "timm:hf-hub:evil/evil"},
    "an architecture of another family": {"architecture": "os:system"},
    "an architecture that does not exist": {"architecture": "torchvision:../evil"},
    "a detection model": {"architecture": "torchvision:fasterrcnn_resnet50_fpn"},
    "another architecture": {"architecture": "torchvision:resnet18"},
    "classes that are no list": {"classes": "3"},
    "classes that are numbers": {"classes": "[1, 2, 3]"},
    "classes of another count": {"classes": '["a", "b"]'},
    "classes that nest": {"classes": "[" * 100_000},
    "an image size of zero": {"image_size": "0"},
    "an image size that is huge": {"image_size": "1000000000"},
    "an image size that is a fraction": {"image_size": "32.5"},
    "a mean of two": {"mean": "[0, 0]"},
    "a mean of NaN": {"mean": "[NaN, 0, 0]"},
    "a mean of endless digits": {"mean": f"[{'9' * 400}, 0, 0]"},
    "a deviation of zero": {"std": "[0, 1, 1]"},
    "a deviation of infinity": {"std": "[1e999, 1, 1]"},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_that_do_not_hold_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    net = build("theriac:resnet14", 3)
    save_model(Classifier(net, architecture="theriac:resnet14", classes=["a", "b", "c"], image_size=32), path)
    open_model(str(path))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= CLAIMS[name]
    path.write_bytes(file(header, content[8 + length :]))
    assert inspect_model(str(path)).safe  # nothing in it runs; but what it says of itself is not believed
    with pytest.raises(UserError) as caught:
        open_model(str(path))
    assert "\n" not in str(caught.value)
