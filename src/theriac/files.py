"""Paths that may be anywhere, digests, and files that are either whole or absent."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from theriac.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary file name beside ``path``; renames it to ``path`` when the block ends well, else removes it.

    Raises:
        UserError: If the folder cannot be written to or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror}", where=path, do="choose another place") from None
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror or error}", where=path, do="free some space") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside ``path``; renames it to ``path`` when the block ends well, else removes it.

    Raises:
        UserError: If ``path`` exists and is not an empty folder, or cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError("exists already", where=path, do="choose another name or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror}", where=path, do="choose another place") from None
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            path.rmdir()
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror or error}", where=path, do="free some space") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` to ``path`` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal.

    Raises:
        UserError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None


def cache_folder() -> Path:
    """Returns theriac's folder below the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "theriac"


@dataclass(frozen=True)
class Fetched:
    """A file or folder that is on this machine now.

    Attributes:
        path: Where it is.
        source: Where it came from; for ``hf://`` with the commit, so that it can be fetched again bit for bit.
        revision: Commit of the ``hf://`` repository, else None.
    """

    path: Path
    source: str
    revision: str | None = None


def fetch(path: str | Path, revision: str | None = None, *, suffixes: tuple[str, ...] = ()) -> Fetched:
    """Brings a file or folder to this machine, once; a local one stays where it is.

    Args:
        path: A local path, ``hf://datasets/owner/name[@revision]/file`` (or ``hf://owner/name/...`` for a model
            repository), or any URL that fsspec opens, for instance ``s3://bucket/file`` or ``https://host/file``.
        revision: Branch, tag or commit of an ``hf://`` repository, where the path does not name it.
        suffixes: An ``hf://`` path may name a whole repository, of which the files at its top that end so are fetched.

    Raises:
        UserError: If it does not exist, cannot be read, or ``revision`` is given for something without revisions.
    """
    text = str(path).removeprefix("file://")
    if text.startswith("hf://"):
        return _fetch_hub(text, revision, suffixes)
    if revision is not None:
        raise UserError("only hf:// paths have revisions", where=text, do="leave the revision out")
    if "://" in text:
        return Fetched(_fetch_url(text), text)
    local = Path(text).expanduser()
    if not local.exists():
        raise UserError("no such file or folder", where=text)
    return Fetched(local, text)


def _fetch_hub(url: str, revision: str | None, suffixes: tuple[str, ...]) -> Fetched:
    from huggingface_hub import HfApi

    found = re.fullmatch(r"hf://(datasets/)?([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.*))?", url)
    if found is None:
        raise UserError("is not a Hugging Face path", where=url, do="write hf://datasets/owner/name[@revision]/file")
    kind, repo = "dataset" if found[1] else "model", found[2]
    pinned, inside = unquote(found[3]) if found[3] else None, (found[4] or "").strip("/")
    if pinned and revision and pinned != revision:
        raise UserError(f"names revision {pinned}, but {revision} was asked for", where=url, do="give one of them")
    api = HfApi()
    try:
        commit = str(api.repo_info(repo, repo_type=kind, revision=pinned or revision).sha)
        names = api.list_repo_files(repo, repo_type=kind, revision=commit)
        if inside:
            wanted = [name for name in names if name == inside or name.startswith(f"{inside}/")]
        else:
            wanted = [name for name in names if "/" not in name and name.endswith(suffixes)]
        if not wanted:
            do = f"name a file or folder of the repository: {', '.join(names[:8])}{' …' if len(names) > 8 else ''}"
            raise UserError("no such file" if inside else "names no file", where=url, do=do)
        root = cache_folder() / "hub" / kind / repo / commit
        for name in wanted:
            target = root / _safe(name, url)
            if not target.exists():
                _copy(Path(api.hf_hub_download(repo, name, repo_type=kind, revision=commit)), target)
    except UserError:
        raise
    except Exception as error:  # the hub's client lets its HTTP library's own kinds through
        raise UserError(f"cannot fetch: {_first_line(error)}", where=url) from None
    return Fetched(root / inside, f"hf://{found[1] or ''}{repo}@{commit}/{inside}", commit)


def _copy(source: Path, target: Path) -> None:
    # The hub's own cache holds symbolic links, which a manifest refuses; a hard link costs no space.
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _fetch_url(url: str) -> Path:
    import fsspec

    store = cache_folder() / "fetched"
    try:
        system, inside = fsspec.core.url_to_fs(url)
        web = "http" in system.protocol  # whose folders are guesses from the links in a page
        files = {name: system.info(name) for name in ([] if web else system.find(inside)) or [inside]}
        name = _safe(PurePosixPath(inside.rstrip("/").split("?")[0]).name or "data", url)
        key = _state(url, files)
        known = store / "index" / (key or "")
        if key and known.exists() and (cached := store / known.read_text() / name).exists():
            return cached
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store) as temporary:
            top, digests = Path(temporary) / name, {}
            for file in files:
                rest = file.removeprefix(inside).strip("/")
                target = top / _safe(rest, url) if rest else top
                target.parent.mkdir(parents=True, exist_ok=True)
                with system.open(file, "rb") as incoming, target.open("wb") as outgoing:
                    shutil.copyfileobj(incoming, outgoing, 1 << 20)
                digests[rest] = sha256_file(target)
            digest = hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()
            (store / digest).mkdir(exist_ok=True)
            if not (store / digest / name).exists():
                top.replace(store / digest / name)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError("no such file or folder", where=url) from None
    except Exception as error:  # every file system behind fsspec raises its own kinds
        raise UserError(f"cannot fetch: {_first_line(error)}", where=url) from None
    if key:
        write_text(known, digest)
    return store / digest / name


def _state(url: str, files: dict[str, dict[str, Any]]) -> str | None:
    """Returns a digest of the present version of ``files``, or None where their store tells no versions."""
    marks = ("etag", "ETag", "mtime", "LastModified", "last_modified", "created", "md5", "version_id")
    state = [(name, info.get("size"), [str(info[m]) for m in marks if info.get(m)]) for name, info in files.items()]
    known = all(versions for _, _, versions in state)
    return hashlib.sha256(json.dumps([url, state]).encode()).hexdigest() if known else None


def _safe(name: str, url: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UserError(f"holds a file with the unsafe name {name!r}", where=url)
    return name


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
