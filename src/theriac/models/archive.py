"""The zip archives that ``torch.save`` writes, and no others.

Zip readers disagree about files that break the rules, and attackers live in the disagreement. So the rules are narrow:
members are stored, not compressed, lie one after the other without gaps from the first byte to the central directory,
say the same in both of their headers, and have the names that ``torch.save`` gives.
"""

import re
import stat
import struct
import zlib
from dataclasses import dataclass
from mmap import mmap

from theriac.errors import Refused

_MAX_MEMBERS = 100_000
_END, _END64, _LOCATOR64 = struct.Struct("<4sHHHHIIH"), struct.Struct("<4sQHHIIQQQQ"), struct.Struct("<4sIQI")
_CENTRAL, _LOCAL = struct.Struct("<4sHHHHHHIIIHHHHHII"), struct.Struct("<4sHHHHHIIIHH")
_SATURATED = 0xFFFFFFFF
_DESCRIPTOR_FLAG, _ALLOWED_FLAGS = 0x8, 0x8 | 0x800  # sizes follow the data; names are UTF-8
_ROOT = re.compile(r"[^/\\\x00-\x1f\x7f:]{1,255}")
_INNER = re.compile(r"data\.pkl|version|byteorder|data/[0-9]{1,9}|\.[a-z_]{1,40}|\.data/[a-z_]{1,40}")
_SMALL = 4096  # bytes in a member that is neither the pickle nor a storage


@dataclass(frozen=True)
class Member:
    """One member: its name below the archive's root, and where its bytes are."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class _Entry:
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int


def read_archive(data: mmap) -> dict[str, Member]:
    """Returns name below the root -> member, after checking every header and every checksum.

    Raises:
        Refused: If ``torch.save`` would not have written the archive so.
    """
    start, end, count = _directory(data)
    entries = _entries(data, start, end, count)
    root = _root([entry.name for entry in entries])
    members, position = {}, 0
    for entry in sorted(entries, key=lambda entry: entry.offset):
        _check(entry)
        name = entry.name.removeprefix(f"{root}/")
        if not _INNER.fullmatch(name):
            raise Refused(f"the archive has a member {entry.name[:80]!r}, which torch.save does not write")
        if entry.offset != position:
            raise Refused(f"the archive's members overlap or leave a gap at byte {min(position, entry.offset)}")
        member, position = _locate(data, entry, name, start)
        members[name] = member
    if position != start:
        raise Refused(f"the archive hides {start - position} bytes before its directory")
    if "data.pkl" not in members:
        raise Refused("the archive has no data.pkl: it is not from torch.save")
    if "byteorder" in members and read(data, members["byteorder"], _SMALL) != b"little":
        raise Refused("the archive's numbers are not little-endian")
    return members


def read(data: mmap, member: Member, limit: int) -> bytes:
    """Returns the bytes of a member that may have ``limit`` of them at most.

    Raises:
        Refused: If it has more.
    """
    if member.end - member.start > limit:
        raise Refused(f"{member.name} has {member.end - member.start} bytes, more than {limit}")
    return data[member.start : member.end]


def _directory(data: mmap) -> tuple[int, int, int]:
    """Returns start and end of the central directory and its number of entries."""
    at = len(data) - _END.size
    if at < 0 or data[at : at + 4] != b"PK\5\6" or data[-2:] != b"\0\0":
        raise Refused("the archive is truncated, or bytes follow its end")
    _, disk, first, here, count, size, offset, _ = _END.unpack_from(data, at)
    end = at
    locator = at - _LOCATOR64.size
    if locator >= _END64.size and data[locator : locator + 4] == b"PK\6\7":
        end = _LOCATOR64.unpack_from(data, locator)[2]
        if end != locator - _END64.size or data[end : end + 4] != b"PK\6\6":
            raise Refused("the archive's two ends disagree")
        large = _END64.unpack_from(data, end)
        narrow = ((here, large[6], 0xFFFF), (count, large[7], 0xFFFF), (size, large[8], _SATURATED))
        if any(old not in (new, limit) for old, new, limit in (*narrow, (offset, large[9], _SATURATED))):
            raise Refused("the archive's two ends disagree")
        disk, first, here, count, size, offset = large[4:]
    if disk or first or here != count or offset + size != end:
        raise Refused("the archive's end does not say where its directory is")
    if count > _MAX_MEMBERS:
        raise Refused(f"the archive has {count} members, more than {_MAX_MEMBERS}")
    return offset, end, count


def _entries(data: mmap, position: int, end: int, count: int) -> list[_Entry]:
    entries = []
    for _ in range(count):
        if position + _CENTRAL.size > end or data[position : position + 4] != b"PK\1\2":
            raise Refused("the archive's directory is broken")
        fields = _CENTRAL.unpack_from(data, position)
        flags, method, crc, packed, size, name, extra, comment = (*fields[3:5], *fields[7:13])
        position += _CENTRAL.size
        text = data[position : position + name]
        sizes = _sizes64(data[position + name : position + name + extra], [size, packed, fields[16]])
        position += name + extra + comment
        if comment or position > end or not text.isascii():
            raise Refused("the archive's directory has a comment, a cut name or one that is not ASCII")
        entries.append(_Entry(text.decode(), flags, method, crc, sizes[1], sizes[0], sizes[2], fields[15] >> 16))
    if position != end:
        raise Refused("the archive's directory has more entries than it says")
    return entries


def _sizes64(extra: bytes, values: list[int]) -> list[int]:
    """Returns size, packed size and offset, those that need 64 bits taken from the extra field of kind 1."""
    wide = b""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        wide = extra[4 : 4 + length] if kind == 1 else wide
        extra = extra[4 + length :]
    large = list(struct.unpack(f"<{len(wide) // 8}Q", wide[: len(wide) // 8 * 8]))
    try:
        return [large.pop(0) if value == _SATURATED else value for value in values]
    except IndexError:
        raise Refused("the archive's directory lacks a 64-bit size") from None


def _root(names: list[str]) -> str:
    if len(set(names)) != len(names):
        raise Refused(f"the archive has two members named {max(names, key=names.count)[:80]!r}")
    if bad := [n for n in names if n.startswith("/") or "\\" in n or ".." in n.split("/") or not n.isprintable()]:
        raise Refused(f"the archive has a member whose name leaves the archive: {bad[0][:80]!r}")
    roots = {name.partition("/")[0] for name in names}
    if len(roots) != 1 or not _ROOT.fullmatch(min(roots)):
        raise Refused(f"the archive has {len(roots)} roots, torch.save makes one")
    if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
        raise Refused("the archive is a TorchScript program, which would have to be run to be read")
    return roots.pop()


def _check(entry: _Entry) -> None:
    if entry.method or entry.packed != entry.size:
        raise Refused(f"the archive's member {entry.name!r} is compressed; torch.save stores")
    if entry.flags & ~_ALLOWED_FLAGS:
        raise Refused(f"the archive's member {entry.name!r} is encrypted or has unknown flags {entry.flags:#x}")
    if entry.mode and not stat.S_ISREG(entry.mode) and stat.S_IFMT(entry.mode):
        raise Refused(f"the archive's member {entry.name!r} is a link, a folder or a device")


def _locate(data: mmap, entry: _Entry, name: str, limit: int) -> tuple[Member, int]:
    """Returns where a member's bytes are and where the next member starts; its local header must say the same."""
    at = entry.offset
    if at + _LOCAL.size > limit or data[at : at + 4] != b"PK\3\4":
        raise Refused(f"the archive's member {entry.name!r} is not where the directory says")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra = _LOCAL.unpack_from(data, at)
    start = at + _LOCAL.size + name_length + extra
    end = start + entry.size
    if end > limit:
        raise Refused(f"the archive's member {entry.name!r} is said to have {entry.size} bytes, more than there are")
    local_name = data[at + _LOCAL.size : at + _LOCAL.size + name_length]
    said = (entry.crc, entry.size, entry.size)
    later = flags & _DESCRIPTOR_FLAG and (crc, packed, size) == (0, 0, 0)
    same_sizes = later or (crc, *_local_sizes(data, start - extra, extra, packed, size)) == said
    if (local_name, flags, method) != (entry.name.encode(), entry.flags, entry.method) or not same_sizes:
        raise Refused(f"the archive's two headers of {entry.name!r} disagree")
    if _crc(data, start, end) != entry.crc:
        raise Refused(f"the archive's member {entry.name!r} has a wrong checksum")
    after = end
    if flags & _DESCRIPTOR_FLAG:
        widths = ("II", "QQ") if entry.size < _SATURATED else ("QQ",)
        kinds = [struct.pack(f"<4sI{width}", b"PK\7\x08", *said) for width in widths]
        found = next((d for d in kinds if data[end : end + len(d)] == d), None)
        if found is None:
            raise Refused(f"the archive's two headers of {entry.name!r} disagree")
        after += len(found)
    return Member(name, start, end), after


def _local_sizes(data: mmap, at: int, extra: int, packed: int, size: int) -> tuple[int, int]:
    values = _sizes64(data[at : at + extra], [size, packed])
    return values[1], values[0]


def _crc(data: mmap, start: int, end: int) -> int:
    crc = 0
    with memoryview(data) as view:
        for position in range(start, end, 1 << 20):
            crc = zlib.crc32(view[position : min(position + (1 << 20), end)], crc)
    return crc
