"""Replacing a key: both are kept, both say so, and nobody else can."""

import stat

import pytest

from theriac.errors import UserError
from theriac.provenance.credentials import issue, verify
from theriac.provenance.keys import PASSPHRASE, SigningKey, create, listed, load
from theriac.provenance.rotation import rotate, statements_of, successors


@pytest.fixture(autouse=True)
def _no_passphrase(monkeypatch):
    monkeypatch.delenv(PASSPHRASE, raising=False)


def test_both_keys_are_kept_and_say_so(tmp_path):
    folder, out = tmp_path / "keys", tmp_path / "out"
    old = create(folder, "mine")
    first = rotate(folder, "mine", out)
    second = rotate(folder, "mine", out)
    assert load(folder, "mine").did == second.new.did
    assert load(folder, first.kept.stem).did == old.did == first.old.did
    assert load(folder, second.kept.stem).did == first.new.did == second.old.did
    assert stat.S_IMODE((folder / "mine.pem").stat().st_mode) == 0o600
    assert {entry.did for entry in listed(folder)} == {second.new.did, old.did, first.new.did}
    assert (folder / "mine.did").read_text().strip() == second.new.did
    assert not [path for path in folder.iterdir() if path.suffix not in {".pem", ".did"}]
    statements = [verify(path.read_bytes()) for path in first.statements]
    assert [statement.signer for statement in statements if statement.valid] == [old.did, first.new.did]


def test_encrypted_keys(tmp_path):
    create(tmp_path, "mine", "old secret")
    with pytest.raises(UserError, match="encrypted"):
        rotate(tmp_path, "mine", tmp_path / "out")
    rotate(tmp_path, "mine", tmp_path / "out", passphrase="new secret", ask=lambda: "old secret")
    assert load(tmp_path, "mine", ask=lambda: "new secret")
    assert all(entry.encrypted for entry in listed(tmp_path))


def test_all_is_as_before_if_nothing_can_be_said(tmp_path):
    folder = tmp_path / "keys"
    before = create(folder, "mine")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        rotate(folder, "mine", tmp_path / "file")
    assert load(folder, "mine").did == before.did
    assert sorted(path.name for path in folder.iterdir()) == ["mine.did", "mine.pem"]
    assert (folder / "mine.did").read_text().strip() == before.did


def test_only_what_both_keys_state_counts(key, stranger):
    new, thief = SigningKey.from_seed(bytes([5]) * 32), SigningKey.from_seed(bytes([6]) * 32)
    of_old, of_new = statements_of("mine", key, new)
    assert successors([of_new, of_old]) == {key.did: new.did}
    assert successors([of_old]) == successors([of_new]) == {}
    in_anothers_name = issue("identity", {"name": "x", "pub": key.did, "successor": stranger.did}, stranger)
    claimed = issue("identity", {"name": "x", "pub": stranger.did, "predecessor": key.did}, stranger)
    assert successors([in_anothers_name, claimed]) == {}
    changed = of_old | {"credentialSubject": of_old["credentialSubject"] | {"successor": stranger.did}}
    assert successors([changed, claimed]) == {}
    assert successors([of_old, of_new, *statements_of("mine", key, thief)]) == {}  # a stolen key names two
    none = issue("identity", {"name": "x", "pub": key.did, "successor": None}, key)
    assert successors([none, of_old, of_new]) == {key.did: new.did}
