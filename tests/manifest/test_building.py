"""Every file is read once and whole, or the error names it; threads, kills and other writers change nothing."""

import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from theriac.errors import UserError
from theriac.manifest import Manifest, build, build_to, read_manifest, sha256_of
from theriac.manifest import partial as partial_module
from theriac.manifest import working as working_module
from theriac.manifest.walking import Top


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = random.Random(0)
    for k in range(300):
        file = tmp_path / "d" / f"{k % 7}" / f"{k % 3}" / f"{k}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(generator.randbytes(k * 10))
    (tmp_path / "d" / "large").write_bytes(generator.randbytes((5 << 20) + 3))
    (tmp_path / "d" / "empty").touch()
    return tmp_path / "d"


def by_hand(folder: Path) -> list[tuple[str, int, str]]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    rows = [(p.relative_to(folder).as_posix(), p.read_bytes()) for p in files]
    return sorted(((n, len(b), hashlib.sha256(b).hexdigest()) for n, b in rows), key=lambda row: row[0].encode())


class TestResult:
    def test_is_what_is_on_disk(self, folder: Path) -> None:
        manifest = build(folder)
        assert [tuple(entry) for entry in manifest.entries] == by_hand(folder)
        assert sha256_of(folder) == manifest.root.removeprefix("sha256-merkle:")

    def test_does_not_depend_on_workers(self, folder: Path) -> None:
        assert len({build(folder, workers=workers) for workers in (1, 2, 5, 16)}) == 1

    def test_the_root_of_a_known_folder_stays(self, tmp_path: Path) -> None:
        for name in ("b", "a/x", "a.y", "é"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(name)
        # signed by earlier versions: a change of this figure breaks their credentials
        assert sha256_of(tmp_path) == "d4253352e802f69b51d8254b2ae262bf4fa02efedd958a445513467e4f035fbf"

    def test_depends_on_names_and_contents(self, folder: Path) -> None:
        roots = {build(folder).root}
        (folder / "large").rename(folder / "larger")
        roots.add(build(folder).root)
        with (folder / "larger").open("r+b") as file:
            file.seek(3 << 20)
            file.write(bytes([file.read(1)[0] ^ 1]))
        roots.add(build(folder).root)
        assert len(roots) == 3

    def test_of_a_single_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"abc")
        digest = hashlib.sha256(b"abc").hexdigest()
        assert build(tmp_path / "a").root == f"sha256:{digest}"
        assert sha256_of(tmp_path / "a") == digest
        (tmp_path / "link").symlink_to("a")  # named by the user
        assert build(tmp_path / "link").entries[0] == ("link", 3, digest)

    def test_progress_reaches_the_end_and_never_turns_back(self, folder: Path) -> None:
        shares: list[float] = []
        build(folder, progress=lambda share, _: shares.append(share))
        assert shares == sorted(shares)
        assert shares[-1] == 1

    def test_no_handle_stays_open(self, folder: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        build(folder)
        (folder / "link").symlink_to("large")
        with pytest.raises(UserError):
            build(folder)
        assert len(os.listdir("/proc/self/fd")) == before


@contextmanager
def as_nobody() -> Iterator[None]:
    """Gives up the rights of root, to whom every file is readable."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestRefused:
    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_unreadable(self, what: str) -> None:
        top = Path(tempfile.mkdtemp())
        try:
            top.chmod(0o755)
            (top / "ok").write_text("1")
            (top / "secret").mkdir() if what == "folder" else (top / "secret").touch()
            (top / "secret").chmod(0)
            with as_nobody(), pytest.raises(UserError, match=r"secret: cannot read: Permission denied"):
                build(top)
        finally:
            shutil.rmtree(top)

    def test_a_file_needs_no_right_to_list_its_folder(self) -> None:
        top = Path(tempfile.mkdtemp())
        try:
            (top / "a").write_text("1")
            top.chmod(0o711)
            with as_nobody():
                assert sha256_of(top / "a") == hashlib.sha256(b"1").hexdigest()
                assert build(top / "a").total == 1
        finally:
            shutil.rmtree(top)

    def test_special_files(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        os.mkfifo(folder / "pipe")
        with pytest.raises(UserError, match="pipe: is not a regular file"):
            build(folder)
        with pytest.raises(UserError, match="pipe: is neither"):
            build(folder / "pipe")
        (folder / "pipe").unlink()
        monkeypatch.chdir(folder)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("door")
            with pytest.raises(UserError, match="door: is not a regular file"):
                build(folder)

    def test_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "d" / "e").mkdir(parents=True)
        for find in (build, sha256_of):
            with pytest.raises(UserError, match="d: the folder is empty"):
                find(tmp_path / "d")
            with pytest.raises(UserError, match="nowhere: no such file or folder"):
                find(tmp_path / "nowhere")

    def test_a_name_that_is_not_utf8(self, folder: Path) -> None:
        (Path(os.fsdecode(os.fsencode(folder) + b"/\xff"))).touch()
        with pytest.raises(UserError, match=r"\\xff: its name is not UTF-8; rename it"):
            build(folder)

    def test_a_name_that_leaves_the_folder_elsewhere(self, folder: Path) -> None:
        (folder / "..\\x").touch()
        with pytest.raises(UserError, match="leaves its folder"):
            build(folder)

    def test_too_deep(self, tmp_path: Path) -> None:
        path = tmp_path
        for _ in range(300):
            path = path / "d"
            path.mkdir()
        with pytest.raises(UserError, match="folders deep"):
            build(tmp_path)

    def test_no_workers(self, folder: Path) -> None:
        with pytest.raises(UserError, match="at least 1"):
            build(folder, workers=0)


def after_listing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Does something at the worst moment: the files are listed and not yet read."""
    listed = Top.files

    def files(self: Top, links: str = "refuse") -> Iterator[object]:
        found = list(listed(self, links))  # type: ignore[arg-type]
        act()
        return iter(found)

    monkeypatch.setattr(Top, "files", files)


class TestChangedMeanwhile:
    def _exchange(self, folder: Path, how: str) -> None:
        target = folder / "3" / "0" / "3.bin"
        data = target.read_bytes()
        if how == "folder link":
            (folder / "3").rename(folder.parent / "moved")
            (folder / "3").symlink_to(folder.parent / "moved")
            return
        if how == "grown":
            target.write_bytes(data + b"x")
        elif how == "same bytes, other file":
            target.unlink()
            target.write_bytes(data)
        elif how == "same size and times":
            times = target.stat()
            target.write_bytes(bytes(len(data)))
            os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
        else:
            target.unlink()
        if how == "link":
            target.symlink_to("/etc/passwd")
        elif how == "pipe":
            os.mkfifo(target)

    @pytest.mark.parametrize("workers", [1, 3])
    @pytest.mark.parametrize(
        "how", ["grown", "same bytes, other file", "same size and times", "gone", "link", "pipe", "folder link"]
    )
    def test_is_an_error(self, how: str, workers: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        after_listing(monkeypatch, lambda: self._exchange(folder, how))
        with pytest.raises(UserError, match=r"changed while|cannot read") as caught:
            build(folder, workers=workers)
        assert str(folder / "3") in str(caught.value.where)

    def test_in_the_middle_of_a_file(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real, large = os.read, folder / "large"

        def read(handle: int, size: int) -> bytes:
            data = real(handle, size)
            if len(data) == working_module.CHUNK:
                with large.open("r+b") as file:
                    file.write(b"!")
            return data

        monkeypatch.setattr(os, "read", read)
        with pytest.raises(UserError, match="large: was changed while it was read"):
            build(folder)


class TestHelpers:
    """Very many small files are hashed by processes of their own."""

    @pytest.fixture(autouse=True)
    def many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(working_module, "WORTH_SECONDS", 0.0)

    def test_give_the_same_manifest(self, folder: Path) -> None:
        assert build(folder, workers=3) == build(folder, workers=1)

    def test_name_what_was_changed(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        small = next(path for path in sorted(folder.rglob("*")) if path.is_file() and 0 < path.stat().st_size < 1000)
        after_listing(monkeypatch, lambda: small.write_text("another"))
        with pytest.raises(UserError, match="was changed while it was read") as caught:
            build(folder, workers=2)
        assert str(caught.value.where) == str(small)

    def test_that_are_killed_or_do_not_start_are_done_without(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = build(folder, workers=1)
        real = subprocess.Popen

        def ill(*arguments: Any, **options: Any) -> Any:
            process = real(*arguments, **options)
            process.kill()
            process.wait()
            return process

        monkeypatch.setattr(subprocess, "Popen", ill)
        assert build(folder, workers=2) == whole
        monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: (_ for _ in ()).throw(OSError("no more processes")))
        assert build(folder, workers=2) == whole

    def test_import_nothing_from_where_we_are(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "json.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w')")
        (folder / "theriac").mkdir()
        (folder / "theriac" / "__init__.py").write_text(f"open({str(folder.parent / 'ran')!r}, 'w')")
        monkeypatch.chdir(folder)
        build(folder, workers=2)
        assert not (folder.parent / "ran").exists()


class TestLinks:
    def test_are_refused_by_name(self, folder: Path) -> None:
        (folder / "3" / "link").symlink_to("/etc/hostname")
        for find in (build, sha256_of):
            with pytest.raises(UserError, match="3/link: is a symbolic link"):
                find(folder)

    def test_inside_are_the_file_that_they_name(self, folder: Path) -> None:
        (folder / "3" / "link").symlink_to("../large")
        (folder / "second").symlink_to(folder / "3" / "link")
        found = {entry.path: entry for entry in build(folder, symlinks="follow-inside").entries}
        assert found["3/link"][1:] == found["second"][1:] == found["large"][1:]
        (folder / "3" / "link").unlink()
        (folder / "second").unlink()
        for path in ("3/link", "second"):
            shutil.copy(folder / "large", folder / path)
        assert tuple(found.values()) == build(folder).entries

    @pytest.mark.parametrize(
        ("target", "said"),
        [
            ("/etc/hostname", "leaves the folder"),
            ("../../outside", "leaves the folder"),
            ("../../d-also/x", "leaves the folder"),
            ("nothing", "cannot be followed"),
            ("link", "symbolic link to|cannot be followed"),
            ("../2", "no file"),
            ("..", "symbolic link"),
        ],
    )
    def test_that_leave_or_lead_nowhere_are_refused(self, target: str, said: str, folder: Path) -> None:
        (folder.parent / "outside").touch()
        (folder.parent / "d-also").mkdir()
        (folder.parent / "d-also" / "x").touch()
        (folder / "3" / "link").symlink_to(target)
        with pytest.raises(UserError, match=rf"3/link: .*({said})"):
            build(folder, symlinks="follow-inside")

    def test_one_turned_outward_after_the_check_is_not_followed(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "passwd").write_text("harmless")
        (folder / "link").symlink_to("inner/passwd")

        def turn() -> None:
            shutil.rmtree(folder / "inner")
            (folder / "inner").symlink_to("/etc")

        after_listing(monkeypatch, turn)
        with pytest.raises(UserError, match="inner: cannot read"):
            build(folder, symlinks="follow-inside")


KILLED = """
import os, signal, sys
from pathlib import Path
from typing import Any
from theriac.manifest import build_to, partial, working
partial.SETTLED_NS, working.BATCH_FILES = 0, 10
def progress(share, step):
    if share > float(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
build_to(Path(sys.argv[1]), Path(sys.argv[2]), workers=1, progress=progress)
"""


class TestResume:
    def _kill(self, folder: Path, out: Path, share: float) -> Path:
        done = subprocess.run([sys.executable, "-c", KILLED, folder, out, str(share)], check=False)
        assert done.returncode == -9
        assert not out.exists()
        return out.with_name(f"{out.name}.partial")

    def test_after_a_kill_it_goes_on(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "out" / "m"
        partial = self._kill(folder, out, 0.9)
        lines = partial.read_text().splitlines()
        assert len(lines) > 1
        known = lines[1].split('"')[3]
        true = next(entry.sha256 for entry in build(folder).entries if entry.path == known)
        partial.write_text(partial.read_text().replace(true, "0" * 64))  # shows that it is not read again
        manifest = build(folder, resume=partial)
        assert next(entry.sha256 for entry in manifest.entries if entry.path == known) == "0" * 64
        partial.write_text(partial.read_text().replace("0" * 64, true))
        assert build_to(folder, out) == build(folder) == read_manifest(out)
        assert os.listdir(out.parent) == ["m"]

    def test_what_was_touched_since_is_read_again(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "m"
        self._kill(folder, out, 0.9)
        for file in [p for p in folder.rglob("*") if p.is_file()]:
            times, data = file.stat(), file.read_bytes()
            file.write_bytes(bytes(len(data)))
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert [tuple(entry) for entry in build_to(folder, out).entries] == by_hand(folder)

    def test_notes_cut_off_anywhere_are_no_harm(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "m"
        partial = self._kill(folder, out, 0.9)
        whole, right = partial.read_bytes(), build(folder)
        for length in (*range(0, 200, 3), *range(200, len(whole), 997)):
            partial.write_bytes(whole[:length])
            assert build(folder, resume=partial) == right
        partial.write_bytes(whole.replace(b'"inode":', b'"inode":"x",', 1))
        assert build(folder, resume=partial) == right

    def test_notes_about_another_folder_are_dropped(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(partial_module, "SETTLED_NS", 0)
        partial = tmp_path / "m.partial"
        build(folder, resume=partial)
        twin = tmp_path / "twin"
        shutil.copytree(folder, twin)
        (twin / "large").write_text("other")
        assert build(twin, resume=partial) == build(twin)

    def test_a_file_changed_just_before_is_not_noted(self, folder: Path, tmp_path: Path) -> None:
        (folder / "large").write_text("now")
        build(folder, resume=tmp_path / "m.partial")
        assert '"large"' not in (tmp_path / "m.partial").read_text()

    def test_another_file_of_that_name_is_not_destroyed(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "m.partial").write_text("my novel\n")
        with pytest.raises(UserError, match=r"m\.partial: is not what an unfinished run left"):
            build_to(folder, tmp_path / "m")
        assert (tmp_path / "m.partial").read_text() == "my novel\n"

    def test_it_does_not_write_into_what_it_describes(self, folder: Path) -> None:
        before = build(folder)
        with pytest.raises(UserError, match="lies inside the folder"):
            build_to(folder, folder / "3" / "m")
        assert build(folder) == before

    def test_a_result_is_a_manifest(self, folder: Path, tmp_path: Path) -> None:
        made = build_to(folder, tmp_path / "m")
        assert isinstance(made, Manifest)
        assert read_manifest(tmp_path / "m") == made
