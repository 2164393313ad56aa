"""Pickles that would run something: each payload would write the marker file if any of its calls were made."""

import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Refusal = Callable[[bytes], str]
Pack = Callable[[bytes, dict[str, bytes]], bytes]


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def whole(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def touch(marker: Path) -> bytes:
    return text(f"touch {marker}")


def python(marker: Path) -> bytes:
    return text(f"open({str(marker)!r}, 'w')")


STUB = b"ctorch.nn.modules.linear\nLinear\n"
NEW_STUB = STUB + b")\x81"
CALLS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda m: call("os", "system", touch(m)),
    "posix.system": lambda m: call("posix", "system", touch(m)),
    "builtins.eval": lambda m: call("builtins", "eval", python(m)),
    "builtins.exec": lambda m: call("builtins", "exec", python(m)),
    "__builtin__.exec, mapped from Python 2": lambda m: call("__builtin__", "exec", python(m)),
    "builtins.open": lambda m: call("builtins", "open", text(str(m)), text("w")),
    "builtins.getattr": lambda m: call("builtins", "getattr", b"cos\npath\n", text("os")),
    "builtins.__import__": lambda m: call("builtins", "__import__", text("antigravity")),
    "subprocess.Popen": lambda m: call("subprocess", "Popen", b"]" + text("touch") + b"a" + text(str(m)) + b"a"),
    "multiprocessing.util.spawnv_passfds": lambda m: call(
        "multiprocessing.util",
        "spawnv_passfds",
        b"C\x0a/bin/touch",
        b"]" + text("touch") + b"a" + text(str(m)) + b"a",
        b")",
    ),
    "torch.utils.collect_env.run": lambda m: call("torch.utils.collect_env", "run", touch(m)),
    "pkgutil.resolve_name": lambda m: call("pkgutil", "resolve_name", text("os:system")) + b"(" + touch(m) + b"tR",
    "importlib.import_module": lambda m: call("importlib", "import_module", text("os")),
    "runpy.run_path": lambda m: call("runpy", "run_path", text(str(m))),
    "operator.methodcaller": lambda m: call("operator", "methodcaller", text("system"), touch(m)),
    "functools.partial of os.system": lambda m: (
        call("functools", "partial", b"cos\nsystem\n") + b"(" + touch(m) + b"tR"
    ),
    "functools.reduce": lambda m: call("functools", "reduce", b"cos\nsystem\n", b"]" + touch(m) + b"a"),
    "pydoc.pipepager": lambda m: call("pydoc", "pipepager", text("x"), touch(m)),
    "timeit.timeit": lambda m: call("timeit", "timeit", python(m)),
    "cProfile.run": lambda m: call("cProfile", "run", python(m)),
    "code.InteractiveInterpreter": lambda m: call("code", "InteractiveInterpreter"),
    "ctypes.CDLL": lambda m: call("ctypes", "CDLL", text("libc.so.6")),
    "shutil.rmtree": lambda m: call("shutil", "rmtree", text(str(m.parent / "none"))),
    "webbrowser.open": lambda m: call("webbrowser", "open", text("file:///dev/null")),
    "numpy's runstring": lambda m: call("numpy.testing._private.utils", "runstring", python(m), b"}"),
    "torch.load": lambda m: call("torch", "load", text(str(m))),
    "torch.hub.load": lambda m: call("torch.hub", "load", text("a/b"), text("c")),
    "torch.storage._load_from_bytes": lambda m: call(
        "torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", 30) + b"cos\nsystem\n(S'true'\ntR.".ljust(30)
    ),
    "torch.jit._unwrap": lambda m: call("torch.jit.unsupported_tensor_ops", "execWrapper", python(m), b"}", b"}"),
    "theriac's own opener": lambda m: call("theriac.models.opening", "open_model", text(str(m))),
    "theriac's own sandbox": lambda m: call("theriac.run.sandbox", "run_sandboxed", text("os:system"), b"}"),
    "timm's checkpoint loader": lambda m: call("timm.models._helpers", "load_checkpoint", NEW_STUB, text(str(m))),
    "copyreg._reconstructor": lambda m: call("copyreg", "_reconstructor", STUB, b"cbuiltins\nobject\n", b"N"),
    "collections.defaultdict of os.system": lambda m: call("collections", "defaultdict", b"cos\nsystem\n"),
    "a call hidden by POP": lambda m: call("posix", "system", touch(m)) + b"0}",
    "a call hidden by POP_MARK": lambda m: b"(" + call("posix", "system", touch(m)) + b"1}",
    "a name below an allowed package": lambda m: call("torch.nn.modules.os", "system", touch(m)),
    "a class-like name below torch.nn": lambda m: call("torch.nn.modules.os", "System", touch(m)),
    "a deep name below timm": lambda m: call("timm.x.os", "system", touch(m)),
    "an imported module's name in timm": lambda m: call("timm.models.subprocess", "Popen", touch(m)),
    "a private function of torchvision": lambda m: call("torchvision.models._api", "get_model", text("resnet50")),
    "a name with a line break's look": lambda m: call("torch.nn.modules.linear\r", "Linear"),
    "a look-alike module": lambda m: call("torch.nn.modules.lіnear", "Linear"),  # Cyrillic i
    "dotted name": lambda m: call("torch.nn.modules.linear", "Linear.__init__.__globals__"),
    "a stub called with arguments": lambda m: STUB + b"(" + touch(m) + b"tR",
    "a stub made with arguments": lambda m: STUB + b"(" + touch(m) + b"t\x81",
    "a stub's instance called": lambda m: NEW_STUB + b"(" + touch(m) + b"tR",
    "a partial called": lambda m: call("functools", "partial", STUB) + b"(" + touch(m) + b"tR",
    "an enumeration made from an object": lambda m: call("timm.layers.format", "Format", NEW_STUB),
    "INST": lambda m: b"(" + touch(m) + b"iposix\nsystem\n",
    "OBJ": lambda m: b"(cposix\nsystem\n" + touch(m) + b"o",
    "EXT1": lambda m: b"\x82\x01(" + touch(m) + b"tR",
    "EXT2": lambda m: b"\x83\x01\x01(" + touch(m) + b"tR",
    "EXT4": lambda m: b"\x84\x01\x01\x01\x01(" + touch(m) + b"tR",
    "PERSID": lambda m: b"Pposix.system\n",
}
MODERN: dict[str, Callable[[Path], bytes]] = {
    "STACK_GLOBAL": lambda m: short("posix") + short("system") + b"\x93(" + touch(m) + b"tR",
    "STACK_GLOBAL from the memo": lambda m: (
        b"]" + short("system") + b"\x94a" + short("posix") + b"\x94ah\x01h\x00\x93(" + touch(m) + b"tR"
    ),
    "STACK_GLOBAL with a dotted name": lambda m: (
        short("torch.nn.modules.module") + short("Module.register_buffer.__globals__") + b"\x93"
    ),
    "STACK_GLOBAL with a computed name": lambda m: b"]" + short("system") + b"\x93(" + touch(m) + b"tR",
    "STACK_GLOBAL from a second name": lambda m: short("torch.nn.modules.linear") + short("os.system") + b"\x93",
    "NEWOBJ_EX": lambda m: STUB + b")}" + touch(m) + text("x") + b"s\x92",
    "BYTEARRAY8": lambda m: b"\x96" + struct.pack("<Q", 1 << 60),
    "NEXT_BUFFER": lambda m: b"\x97",
}
CHANGES: dict[str, bytes] = {
    "__class__ of a stub by slots": NEW_STUB + b"(N}" + text("__class__") + STUB + b"stb",
    "__class__ in a stub's state": NEW_STUB + b"}" + text("__class__") + STUB + b"sb",
    "__setstate__ in a stub's state": NEW_STUB + b"}" + text("__setstate__") + b"cbuiltins\nset\nsb",
    "__reduce__ in a stub's state": NEW_STUB + b"}" + text("__reduce__") + b"K\x01sb",
    "a stub's state twice": NEW_STUB + b"}b}b",
    "a stub's state that is a list": NEW_STUB + b"]b",
    "the class behind a stub": STUB + b"}" + text("full_name") + text("x") + b"sb",
    "__code__ of a builder": b"ctorch._utils\n_rebuild_tensor_v2\n(N}" + text("__code__") + b"Nstb",
    "__dict__ of a builder": b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("_function") + b"cbuiltins\nset\nsb",
    "the function of a builder": b"ctorch._utils\n_rebuild_tensor_v2\n(N}" + text("_function") + b"cbuiltins\nset\nstb",
    "a dtype": b"ctorch\nfloat32\n(N}" + text("name") + text("F64") + b"stb",
    "a set's items being objects": call("builtins", "set", b"]" + NEW_STUB + b"a"),
    "items of a builder": b"ctorch._utils\n_rebuild_tensor_v2\n" + text("a") + b"K\x01s",
    "appending to a stub": NEW_STUB + b"K\x01a",
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_refused(name: str, marker: Path, refused: Refusal, torch_zip: Pack) -> None:
    refused(torch_zip(whole(CALLS[name](marker)), {}))


@pytest.mark.parametrize("name", MODERN)
def test_calls_in_newer_protocols_are_refused(name: str, marker: Path, refused: Refusal, torch_zip: Pack) -> None:
    refused(torch_zip(whole(MODERN[name](marker), 4), {}))


@pytest.mark.parametrize("name", CHANGES)
def test_changing_what_was_checked_is_refused(name: str, refused: Refusal, torch_zip: Pack) -> None:
    refused(torch_zip(whole(CHANGES[name]), {}))


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_the_payload_is_real(marker: Path) -> None:
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_bare_pickles_are_refused(protocol: int, marker: Path, refused: Refusal) -> None:
    refused(pickle.dumps({"model": Payload(marker)}, protocol=protocol))


def test_the_reason_names_the_function(marker: Path, refused: Refusal, torch_zip: Pack) -> None:
    assert "posix.system" in refused(torch_zip(pickle.dumps(Payload(marker), protocol=4), {}))


def test_a_payload_inside_a_real_module_is_refused(marker: Path, refused: Refusal, tmp_path: Path) -> None:
    import torch

    from theriac.models.architectures import build

    net = build("theriac:resnet14", 3)
    net.extra = Payload(marker)  # type: ignore[assignment]
    torch.save(net, tmp_path / "evil.pt")
    assert "system" in refused((tmp_path / "evil.pt").read_bytes())


def test_nothing_is_imported(
    refused: Refusal, torch_zip: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "timm_evil"
    folder.mkdir()
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    refused(torch_zip(whole(call("evil_module", "Net")), {}))
    assert "evil_module" not in sys.modules


def test_a_planted_module_beside_the_file_is_not_run(tmp_path: Path, marker: Path) -> None:
    for planted in ("numpy", "theriac", "json", "pickle", "torch"):
        (tmp_path / f"{planted}.py").write_text(f"open({str(marker)!r}, 'w')")
    (tmp_path / "model.pt").write_bytes(b"PK\3\4 not an archive")
    theriac = shutil.which("theriac", path=str(Path(sys.executable).parent))
    assert theriac
    done = subprocess.run([theriac, "inspect", "model.pt"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "REFUSED" in done.stdout
    assert not marker.exists()
