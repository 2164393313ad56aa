import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from theriac.errors import UserError
from theriac.provenance import keys
from theriac.provenance.keys import PASSPHRASE, create, default_folder, listed, load, load_or_create, public_of


@pytest.fixture(autouse=True)
def _no_passphrase(monkeypatch):
    monkeypatch.delenv(PASSPHRASE, raising=False)


def test_only_the_owner_can_read_a_new_key(tmp_path):
    folder = tmp_path / "new" / "keys"
    key = create(folder, "mine")
    assert stat.S_IMODE((folder / "mine.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert load(folder, "mine").did == key.did
    assert sorted(path.name for path in folder.iterdir()) == ["mine.did", "mine.pem"]


def test_a_key_is_never_overwritten(tmp_path):
    before = create(tmp_path, "mine")
    with pytest.raises(UserError, match="already"):
        create(tmp_path, "mine")
    assert load(tmp_path, "mine").did == before.did
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_key_that_others_can_read_is_refused(tmp_path):
    create(tmp_path, "mine")
    (tmp_path / "mine.pem").chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        load(tmp_path, "mine")


@pytest.mark.parametrize("name", ["", "../evil", "a/b", ".hidden", "x" * 65, "a\n"])
def test_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(UserError, match="not a key's name"):
        create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_encrypted_keys(tmp_path, monkeypatch):
    key = create(tmp_path, "mine", "correct horse")
    assert b"ENCRYPTED" in (tmp_path / "mine.pem").read_bytes()
    assert [(entry.did, entry.encrypted) for entry in listed(tmp_path)] == [(key.did, True)]
    assert load(tmp_path, "mine", ask=lambda: "correct horse").did == key.did
    with pytest.raises(UserError, match="wrong passphrase"):
        load(tmp_path, "mine", ask=lambda: "battery staple")
    with pytest.raises(UserError, match=PASSPHRASE):
        load_or_create(tmp_path, "mine")
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    assert load_or_create(tmp_path, "mine").did == key.did
    assert create(tmp_path, "second").did
    assert b"ENCRYPTED" in (tmp_path / "second.pem").read_bytes()


def test_a_key_can_be_kept_in_plain_text_on_purpose(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    create(tmp_path, "mine", encrypt=False)
    assert b"ENCRYPTED" not in (tmp_path / "mine.pem").read_bytes()


def test_the_first_key_says_that_it_is_in_plain_text(tmp_path, monkeypatch, capsys):
    load_or_create(tmp_path, "plain")
    assert "It is not encrypted" in capsys.readouterr().err
    load_or_create(tmp_path, "plain")
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    load_or_create(tmp_path, "vault")
    assert capsys.readouterr().err == ""


def test_the_public_half_needs_no_passphrase(tmp_path):
    key = create(tmp_path, "mine", "correct horse")
    assert public_of(tmp_path, "mine") == key.did
    with pytest.raises(UserError, match="no such key"):
        public_of(tmp_path, "absent")
    with pytest.raises(UserError, match="not a key's name"):
        public_of(tmp_path, "../mine")
    (tmp_path / "mine.did").unlink()
    with pytest.raises(UserError, match="note with its identifier is lost"):
        public_of(tmp_path, "mine")


def test_load_or_create_gives_all_racers_the_same_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        dids = {key.did for key in pool.map(lambda _: load_or_create(tmp_path / "keys"), range(32))}
    assert len(dids) == 1


def test_files_that_are_no_signing_keys(tmp_path):
    with pytest.raises(UserError, match="theriac keys new --name absent"):
        load(tmp_path, "absent")
    (tmp_path / "junk.pem").touch(0o600)
    with pytest.raises(UserError, match="not a private key"):
        load(tmp_path, "junk")
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "junk.pem").write_bytes(other)
    with pytest.raises(UserError, match="not an Ed25519 key"):
        load(tmp_path, "junk")


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("THERIAC_KEYS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "theriac" / "keys"
    monkeypatch.setenv("THERIAC_KEYS", str(tmp_path / "elsewhere"))
    assert keys.default_folder() == tmp_path / "elsewhere"
