"""What a pickle would do, read from its opcodes without doing it.

A pickle is a program for a small stack machine. Here it is walked, not run: every global name that it would import is
listed, names put together on the stack included, and everything that ``torch.save`` never writes is a problem.
"""

import io
import pickletools
from dataclasses import dataclass, field
from typing import Any, Final

MAX_BYTES = 32 << 20
_MAX_OPCODES = 1_000_000
_MAX_STACK = 100_000
_MAX_TEXT = 1 << 16
_MAX_GLOBALS = 1000
_MAX_PROBLEMS = 20

_ALLOWED = {
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "EMPTY_LIST", "APPEND",
    "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "SETITEM", "SETITEMS",
    "EMPTY_SET", "ADDITEMS", "FROZENSET", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "GLOBAL",
    "STACK_GLOBAL", "REDUCE", "BUILD", "NEWOBJ", "BINPERSID",
}  # fmt: skip
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_PLAINS = {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "INT", "LONG", "FLOAT"}
_TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}

# What the walk knows of a value on the stack: a text itself, of the others only the kind.
_MARK: Final = object()
_PLAIN: Final = object()  # a number or None
_FLAT: Final = object()  # a tuple of texts and plain values
_OTHER: Final = object()


@dataclass
class Walk:
    """The result of :func:`walk`.

    Attributes:
        globals: (module, name) of everything that the pickle would import.
        problems: What is wrong with it, the first problem first; empty if ``torch.save`` could have written it.
        length: Bytes up to and including STOP.
        opcodes: How many there are.
    """

    globals: set[tuple[str, str]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    length: int = 0
    opcodes: int = 0


def walk(data: bytes) -> Walk:
    r"""Returns the globals and the problems of the pickle at the start of ``data``; it never raises and runs nothing.

    >>> walk(b"cos\nsystem\n(S'true'\\ntR.").globals
    {('os', 'system')}
    """
    machine = _Machine()
    result = machine.result
    if len(data) > MAX_BYTES:
        result.problems.append(f"its pickle has {len(data)} bytes, more than {MAX_BYTES}")
        return result
    try:
        for opcode, argument, position in pickletools.genops(io.BytesIO(data)):
            result.length = (position or 0) + 1
            machine.step(opcode, argument, position or 0)
        if machine.stack:
            result.problems.append("its pickle leaves values on the stack")
    except Exception as error:  # pickletools raises many kinds; all of them mean that it cannot be followed
        result.problems.append(f"its pickle is broken: {error}"[:200])
    return result


class _Machine:
    """The stack machine, knowing only what is needed to name every global and to keep within bounds."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.result = Walk()

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any, position: int) -> None:
        name = opcode.name
        self.result.opcodes += 1
        if name not in _ALLOWED or (name == "PROTO" and position > 0):
            self.problem(f"its pickle has the opcode {name} at byte {position}, which torch.save does not write there")
        if self.result.opcodes > _MAX_OPCODES or len(self.stack) > _MAX_STACK:
            raise ValueError("too many opcodes or too deep a stack")
        if isinstance(argument, str | bytes) and len(argument) > _MAX_TEXT:
            raise ValueError(f"a text of {len(argument)} bytes")
        if name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self.put(len(self.memo) if name == "MEMOIZE" else int(argument))
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.get(int(argument))
        elif name in ("MARK", "DUP"):
            self.stack.append(_MARK if name == "MARK" else self.stack[-1])
        elif name == "POP":
            self.stack.pop()
        else:
            self.replace(opcode, argument, self.take(opcode))

    def put(self, index: int) -> None:
        if index > self.result.opcodes:
            raise ValueError(f"memo index {index} after {self.result.opcodes} opcodes")
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"it reads memo {index}, which it never wrote")
        self.stack.append(self.memo[index])

    def take(self, opcode: pickletools.OpcodeInfo) -> list[Any]:
        """Pops what the opcode consumes, down to the last mark if it wants that, and returns it in order."""
        kinds, items = opcode.stack_before, []
        count = len(kinds)
        if pickletools.markobject in kinds:
            count = kinds.index(pickletools.markobject)
            while (value := self.stack.pop()) is not _MARK:
                items.append(value)
        for _ in range(count):
            items.append(self.stack.pop())
            if items[-1] is _MARK:
                raise ValueError(f"{opcode.name} finds nothing to work on")
        return items[::-1]

    def replace(self, opcode: pickletools.OpcodeInfo, argument: Any, items: list[Any]) -> None:
        """Pushes what the opcode makes of ``items``, noting globals and keys."""
        name = opcode.name
        if name in ("GLOBAL", "INST"):
            module, _, attribute = argument.partition(" ")
            self.imports(module, attribute)
        elif name == "STACK_GLOBAL":
            if not all(isinstance(item, str) for item in items):
                raise ValueError("it imports a name that is not written in it but computed")
            self.imports(*items)
        elif name.startswith("EXT"):
            self.imports("copyreg", f"_extension_registry[{argument}]")
        keys = {"SETITEM": items[1:2], "SETITEMS": items[1::2], "ADDITEMS": items[1:], "FROZENSET": items}.get(name, [])
        if any(key is _OTHER for key in keys):
            self.problem(f"its pickle has a key that is neither text nor number, at opcode {self.result.opcodes}")
        for _ in opcode.stack_after:
            self.stack.append(_kind(name, argument, items))

    def imports(self, module: str, name: str) -> None:
        self.result.globals.add((module, name))
        if len(self.result.globals) > _MAX_GLOBALS:
            raise ValueError(f"it imports more than {_MAX_GLOBALS} names")

    def problem(self, text: str) -> None:
        if len(self.result.problems) < _MAX_PROBLEMS:
            self.result.problems.append(text)


def _kind(name: str, argument: Any, items: list[Any]) -> Any:
    if name in _TEXTS:
        return argument if isinstance(argument, str) else _OTHER
    if name in _PLAINS:
        return _PLAIN
    if name in _TUPLES and all(isinstance(item, str) or item is _PLAIN for item in items):
        return _FLAT
    return _OTHER
