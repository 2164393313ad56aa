"""Finding every file below a folder without being led out of it.

Folders are opened one part of the path at a time, relative to the one above and never through a link: whoever exchanges
a folder or file for a link meanwhile causes an error, not the reading of another file.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from theriac.errors import UserError
from theriac.manifest.record import MAX_FILES

Symlinks = Literal["refuse", "follow-inside"]
"""What becomes of a symbolic link: an error, or, if it leads to a file in the same folder, that file's bytes."""

MAX_DEPTH = 256

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


State = tuple[int, int, int, int]
"""Size, inode, and times in nanoseconds of the last change of the bytes and of anything about the file.

It tells whether a file was changed: the last one cannot be set back by who changes it.
"""


class Found(NamedTuple):
    """A file that was found.

    Attributes:
        path: Its path below the folder.
        folder: The folder below the top where its bytes are; differs from that of ``path`` for a link.
        name: Its name there.
        size: Its size in bytes.
        state: What it was like.
    """

    path: str
    folder: str
    name: str
    size: int
    state: State


class Top:
    """A folder that is looked through. Use it as a context manager.

    Args:
        path: The folder; a link to one is followed, as the user named it.
        listed: Whether its files will be listed. Opening one by name asks for fewer rights.
    """

    def __init__(self, path: Path, *, listed: bool = True) -> None:
        self.path = path
        rights = os.O_RDONLY if listed else getattr(os, "O_PATH", os.O_RDONLY)
        try:
            self._handle = os.open(path, rights | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(error, path) from None

    @classmethod
    def inherited(cls, handle: int, path: str) -> "Top":
        """Returns the folder that another process has opened and handed over; ``path`` is for messages only."""
        top = cls.__new__(cls)
        top.path, top._handle = Path(path), handle
        return top

    def fileno(self) -> int:
        """Returns the handle of the folder."""
        return self._handle

    def __enter__(self) -> "Top":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    @contextmanager
    def opened(self, folder: str) -> Iterator[int]:
        """Yields a handle of a folder below the top; no part of its path may be a link."""
        handle = os.dup(self._handle)
        try:
            for part in folder.split("/") if folder else ():
                below = os.open(part, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)

    def files(self, links: Symlinks | Literal["ignore"] = "refuse") -> Iterator[Found]:
        """Yields every file, in no certain order; ``ignore`` leaves out links and whatever is no file.

        Raises:
            UserError: If something cannot be read, is a link that is not to be followed, or is no file or folder.
        """
        folders, count = [""], 0
        while folders:
            folder = folders.pop()
            if folder.count("/") >= MAX_DEPTH:
                raise UserError(f"lies more than {MAX_DEPTH} folders deep", where=self.shown(folder))
            above = f"{folder}/" if folder else ""
            try:
                with self.opened(folder) as handle, os.scandir(handle) as listed:
                    for listing in listed:
                        path = above + listing.name
                        if not path.isascii():
                            self._check_name(path)
                        if listing.is_dir(follow_symlinks=False):
                            folders.append(path)
                        elif found := self._file(path, folder, listing, links):
                            yield found
                            count += 1
                        if count + len(folders) > MAX_FILES:
                            raise UserError(f"holds more than {MAX_FILES} files", where=self.path)
            except OSError as error:
                raise unreadable(error, self.shown(folder)) from None

    def shown(self, path: str) -> str:
        """Returns a path below the top for people."""
        return os.fsencode(self.path / path).decode(errors="backslashreplace")

    def _check_name(self, path: str) -> None:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise UserError("its name is not UTF-8", where=self.shown(path), do="rename it") from None

    def _file(self, path: str, folder: str, listing: "os.DirEntry[str]", links: str) -> Found | None:
        if listing.is_symlink():
            return None if links == "ignore" else self._followed(path, links)
        try:
            status = listing.stat(follow_symlinks=False)
        except OSError as error:
            raise unreadable(error, self.shown(path)) from None
        if stat.S_ISREG(status.st_mode):
            return Found(path, folder, listing.name, status.st_size, state_of(status))
        if links == "ignore":
            return None
        raise UserError("is not a regular file", where=self.shown(path), do="remove it")

    def _followed(self, path: str, links: str) -> Found:
        where = self.shown(path)
        if links == "refuse":
            do = "replace it by what it points to, or follow links that stay inside the folder"
            raise UserError("is a symbolic link", where=where, do=do)
        top, target = os.path.realpath(self.path), os.path.realpath(self.path / path)
        inside = os.path.relpath(target, top)
        if inside == ".." or inside.startswith("../"):
            raise UserError("is a symbolic link that leaves the folder", where=where, do="replace it by a copy")
        self._check_name(inside)
        folder, _, name = inside.rpartition("/")
        try:
            with self.opened(folder) as handle:
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except OSError as error:
            raise UserError(f"is a symbolic link that cannot be followed: {error.strerror}", where=where) from None
        if not stat.S_ISREG(status.st_mode):
            raise UserError("is a symbolic link to something that is no file", where=where, do="replace it by a copy")
        return Found(path, folder, name, status.st_size, state_of(status))


def state_of(status: os.stat_result) -> State:
    """Returns the state in ``status``."""
    return status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def open_file(name: str, folder: int) -> int:
    """Opens a file in a folder; neither follows a link nor waits for whoever may write to a pipe."""
    return os.open(name, _FILE, dir_fd=folder)


def unreadable(error: OSError, where: str | Path) -> UserError:
    """Returns what to say about a file or folder that cannot be read."""
    return UserError(f"cannot read: {error.strerror or error}", where=where)
