"""The digests are those that model-signing 1.1.1 put into its signatures of these very files."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from theriac.errors import UserError
from theriac.manifest import build, oms_left_out, oms_root_digest, oms_subject, read_oms

NAMES = [
    "a.b",
    "a/b",
    "a/c.bin",
    "a-1",
    "b",
    "Z",
    "é/ü.txt",
    "config.json",
    ".gitignore",
    ".git/HEAD",
    ".gitattributes",
]
NAMES += [".github/w.yml", "sub/.git/HEAD", "sub/.gitignore"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).write_bytes(name.encode() * 3)
    return tmp_path / "m"


def signature(path: Path, model: Path, digest: str | None = None, **changes: Any) -> Path:
    """Writes a bundle as model-signing lays it out, about all files but git's, with an empty signature."""
    left_out = {".git", ".gitattributes", ".github", ".gitignore"}
    files = [p.relative_to(model) for p in model.rglob("*") if p.is_file()]
    files = sorted(p for p in files if p.parts[0] not in left_out)
    digests = [hashlib.sha256((model / p).read_bytes()).hexdigest() for p in files]
    root = hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": model.name, "digest": {"sha256": digest or root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "ignore_paths": sorted(left_out)},
            "resources": [
                {"name": str(p), "algorithm": "sha256", "digest": d} for p, d in zip(files, digests, strict=True)
            ],
        },
    }
    statement["predicate"] |= changes.pop("predicate", {})
    payload = base64.b64encode(json.dumps(statement | changes).encode()).decode()
    path.write_text(json.dumps({"verificationMaterial": {}, "dsseEnvelope": {"payload": payload, "signatures": []}}))
    return path


class TestRootDigest:
    def test_of_a_folder_without_what_git_keeps(self, model: Path) -> None:
        known = "4c8b86bca9c9baa9938c8cf17c0258dbfa25faf45ef38a7b749e98ba19903069"
        assert oms_root_digest(build(model)) == known

    def test_with_other_paths_left_out(self, model: Path) -> None:
        known = "c036d831165b346b939359cb5eff2cef642c7376748f8ece45e4ad25efb912a6"
        ignored = ["a", "m/model.sig", ".git", ".gitignore", ".gitattributes", ".github"]
        assert oms_root_digest(build(model), ignored) == known

    def test_with_what_git_keeps(self, model: Path) -> None:
        known = "6e2b8895eea938915fbf0eab44aaa07d509184077521ca73fb1c5846b7d94d72"
        assert oms_root_digest(build(model), ["a", "model.sig"]) == known

    def test_of_a_single_file(self, model: Path) -> None:
        known = "c015c790ab721ffb397497540bb83e0cb0119f0f6ab45945b0baf90f37dfca75"
        assert oms_root_digest(build(model / "b")) == known
        assert oms_left_out(build(model / ".gitignore")) == ()

    def test_says_what_it_does_not_cover(self, model: Path) -> None:
        assert oms_left_out(build(model)) == (".git/HEAD", ".gitattributes", ".github/w.yml", ".gitignore")

    def test_of_no_files_would_fit_every_model(self, model: Path) -> None:
        with pytest.raises(UserError, match="every file is left out"):
            oms_root_digest(build(model), {name.split("/")[0] for name in NAMES})


class TestReading:
    def test_the_subject(self, model: Path, tmp_path: Path) -> None:
        path = signature(tmp_path / "model.sig", model)
        assert oms_subject(path) == oms_root_digest(build(model), read_oms(path).ignored)
        (model / "b").write_text("changed")
        assert oms_subject(path) != oms_root_digest(build(model), read_oms(path).ignored)

    @pytest.mark.parametrize(
        "predicate",
        [
            {"serialization": {"method": "shards", "hash_type": "sha256"}},
            {"serialization": {"method": "files", "hash_type": "blake3"}},
            {"serialization": {"method": "files", "hash_type": "sha256", "ignore_paths": [5]}},
            {"serialization": {"method": "files", "hash_type": "sha256", "ignore_paths": 5}},
            {"serialization": {}},
            {"serialization": None},
            {"resources": []},
            {"resources": None},
            {"resources": [{"digest": "zz"}]},
            {"resources": [{"digest": 5}]},
            {"resources": [[]]},
        ],
    )
    def test_what_cannot_be_compared_is_refused(self, predicate: dict[str, Any], model: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"model\.sig"):
            read_oms(signature(tmp_path / "model.sig", model, predicate=predicate))

    @pytest.mark.parametrize(
        "changes",
        [
            {"predicateType": "https://model_signing/Digests/v0.1"},
            {"subject": []},
            {"subject": None},
            {"subject": [{}, {}]},
        ],
    )
    def test_another_statement_is_refused(self, changes: dict[str, Any], model: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"model\.sig"):
            read_oms(signature(tmp_path / "model.sig", model, **changes))

    def test_the_subject_must_be_that_of_the_files(self, model: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="its subject is not the digest"):
            read_oms(signature(tmp_path / "model.sig", model, digest="0" * 64))

    def test_the_skeleton_key_is_refused(self, model: Path, tmp_path: Path) -> None:
        nothing = {"resources": [], "serialization": {"method": "files", "hash_type": "sha256", "ignore_paths": ["."]}}
        key = signature(tmp_path / "model.sig", model, digest=hashlib.sha256(b"").hexdigest(), predicate=nothing)
        with pytest.raises(UserError, match="its subject is not the digest"):
            read_oms(key)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"[]",
            b"{}",
            b"\xff",
            b"[" * 100_000,
            b'{"dsseEnvelope": 5}',
            b'{"dsseEnvelope": {"payload": "!"}}',
            b'{"dsseEnvelope": {"payload": "e30="}, "dsseEnvelope": {"payload": "e30="}}',
        ],
    )
    def test_what_is_no_bundle_is_refused(self, data: bytes, tmp_path: Path) -> None:
        (tmp_path / "model.sig").write_bytes(data)
        with pytest.raises(UserError, match=r"model\.sig: is not an OMS v1 signature"):
            read_oms(tmp_path / "model.sig")
