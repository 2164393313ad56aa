"""Files are whole or absent, digests cover everything, and paths may be anywhere."""

import hashlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from theriac.errors import UserError
from theriac.files import fetch, replacing, replacing_folder, sha256_file
from theriac.manifest import build, sha256_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_FILES = {"README.md": b"# hi", "data/train.parquet": b"PAR1", "data/test.parquet": b"PAR2"}


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub's HTTP interface does for one public data set."""

    requests: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.requests.append(path)
        listing = [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in HUB_FILES.items()]
        if path.startswith("/api/datasets/owner/name/tree/"):
            return self._send(json.dumps(listing).encode(), "application/json")
        if path in (
            "/api/datasets/owner/name",
            *(f"/api/datasets/owner/name/revision/{r}" for r in ("main", "v1", COMMIT)),
        ):
            info = {"id": "owner/name", "sha": COMMIT, "siblings": [{"rfilename": n} for n in HUB_FILES]}
            return self._send(json.dumps(info).encode(), "application/json")
        name = path.removeprefix(f"/datasets/owner/name/resolve/{COMMIT}/")
        if name in HUB_FILES:
            return self._send(HUB_FILES[name], "application/octet-stream")
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


class TestReplacing:
    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        target.write_text("old")
        with pytest.raises(ZeroDivisionError), replacing(target) as temporary:
            temporary.write_text(f"half{1 // 0}")
        assert target.read_text() == "old"
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_a_folder_that_is_not_empty_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "x").touch()
        with pytest.raises(UserError, match="exists already"), replacing_folder(tmp_path / "d"):
            pass
        assert (tmp_path / "d" / "x").exists()

    def test_a_failed_folder_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="cannot write"), replacing_folder(tmp_path / "d") as temporary:
            [(temporary / "x").touch(exist_ok=False) for _ in range(2)]
        assert os.listdir(tmp_path) == []


class TestFetchLocal:
    def test_stays_where_it_is(self, tmp_path: Path, own_cache: Path) -> None:
        (tmp_path / "a").write_text("1")
        for path in (str(tmp_path / "a"), tmp_path / "a", f"file://{tmp_path}/a"):
            assert fetch(path).path == tmp_path / "a"
        assert not own_cache.exists()

    def test_missing(self) -> None:
        with pytest.raises(UserError, match="nowhere: no such file or folder"):
            fetch("nowhere")

    def test_has_no_revision(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="only hf:// paths have revisions"):
            fetch(tmp_path, revision="main")


class TestFetchUrl:
    @pytest.fixture
    def memory(self) -> Iterator[fsspec.AbstractFileSystem]:
        system = fsspec.filesystem("memory")
        system.pipe({"/data/a.txt": b"one", "/data/sub/b.txt": b"two"})
        yield system
        system.rm("/data", recursive=True)

    def test_file_and_folder(self, memory: fsspec.AbstractFileSystem, own_cache: Path) -> None:
        file, folder = fetch("memory://data/a.txt"), fetch("memory://data")
        assert file.path.read_bytes() == b"one"
        assert file.path.is_relative_to(own_cache)
        assert file.source == "memory://data/a.txt"
        assert [entry.path for entry in build(folder.path).entries] == ["a.txt", "sub/b.txt"]

    def test_is_fetched_once_and_again_when_it_changed(self, memory: fsspec.AbstractFileSystem) -> None:
        first = fetch("memory://data/a.txt").path
        inode = first.stat().st_ino
        assert fetch("memory://data/a.txt").path.stat().st_ino == inode
        memory.pipe("/data/a.txt", b"new")
        second = fetch("memory://data/a.txt").path
        assert (first.read_bytes(), second.read_bytes()) == (b"one", b"new")

    def test_over_http(self, server: str) -> None:
        first = fetch(f"{server}/datasets/owner/name/resolve/{COMMIT}/data/train.parquet")
        assert first.path.name == "train.parquet"
        assert first.path.read_bytes() == b"PAR1"
        with pytest.raises(UserError, match="no such file"):
            fetch(f"{server}/nothing.parquet")

    @pytest.mark.parametrize("url", ["memory://data/none.txt", "nonsense://x/y"])
    def test_errors_are_one_line(self, url: str) -> None:
        with pytest.raises(UserError, match=f"^{url}: ") as caught:
            fetch(url)
        assert "\n" not in str(caught.value)


class TestFetchHub:
    @pytest.fixture(autouse=True)
    def hub(self, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))

    @pytest.mark.parametrize(
        "path", ["hf://datasets/owner/name/data/test.parquet", "hf://datasets/owner/name@v1/data/test.parquet"]
    )
    def test_file_with_its_commit(self, path: str) -> None:
        got = fetch(path)
        assert got.path.read_bytes() == b"PAR2"
        assert got.path.name == "test.parquet"
        assert not got.path.is_symlink()
        assert got.revision == COMMIT
        assert got.source == f"hf://datasets/owner/name@{COMMIT}/data/test.parquet"
        assert sha256_file(got.path) == sha256_of(fetch(got.source).path)

    def test_folder(self) -> None:
        assert [entry.path for entry in build(fetch("hf://datasets/owner/name/data").path).entries] == [
            "test.parquet",
            "train.parquet",
        ]

    def test_the_files_of_a_whole_repository_that_end_so(self) -> None:
        got = fetch("hf://datasets/owner/name@v1", suffixes=(".md", ".parquet"))
        assert [entry.path for entry in build(got.path).entries] == ["README.md"]  # those in folders are not taken
        assert got.source == f"hf://datasets/owner/name@{COMMIT}/"
        assert fetch(got.source, suffixes=(".md",)).path == got.path

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            (
                "hf://datasets/owner/name/data/none.parquet",
                "no such file; name a file or folder of the repository: README.md",
            ),
            ("hf://datasets/owner/name", "names no file"),
            ("hf://datasets/owner/none/x", "cannot fetch"),
            ("hf://nonsense", "is not a Hugging Face path"),
        ],
    )
    def test_errors(self, path: str, message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            fetch(path)
        assert "\n" not in str(caught.value)

    def test_no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(UserError, match="cannot fetch") as caught:
            fetch("hf://datasets/owner/name/README.md")
        assert "\n" not in str(caught.value)

    def test_two_revisions(self) -> None:
        with pytest.raises(UserError, match="names revision v1, but v2"):
            fetch("hf://datasets/owner/name@v1/README.md", revision="v2")
