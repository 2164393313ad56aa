"""Signing keys: Ed25519, kept as PKCS#8 PEM files that only their owner can read."""

import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from theriac.errors import UserError
from theriac.files import write_text
from theriac.provenance.did_key import did_of

PASSPHRASE = "THERIAC_PASSPHRASE"
NOT_ENCRYPTED = f"It is not encrypted; set {PASSPHRASE} to have new keys encrypted."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class SigningKey:
    """A private key and the ``did:key`` that names its public half.

    >>> SigningKey.from_seed(bytes(32)).did
    'did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp'
    """

    private: Ed25519PrivateKey = field(repr=False)
    did: str = field(init=False)

    def __post_init__(self) -> None:
        """Derives the DID."""
        object.__setattr__(self, "did", did_of(self.private.public_key().public_bytes_raw()))

    @classmethod
    def new(cls) -> "SigningKey":
        """Returns a fresh key from the operating system's random numbers."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """Returns the key that 32 secret bytes stand for."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def verification_method(self) -> str:
        """The DID URL under which verifiers find the public key."""
        return f"{self.did}#{self.did.removeprefix('did:key:')}"

    def sign(self, message: bytes) -> bytes:
        """Returns the 64 bytes of the signature."""
        return self.private.sign(message)


@dataclass(frozen=True)
class KeyEntry:
    """A key in a folder; its DID is empty if the note beside it is lost and the key is encrypted."""

    name: str
    did: str
    encrypted: bool
    path: Path


def default_folder() -> Path:
    """Returns the folder of the user's keys: ``$THERIAC_KEYS``, else ``theriac/keys`` in the configuration folder."""
    if folder := os.environ.get("THERIAC_KEYS"):
        return Path(folder)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "theriac" / "keys"


def create(folder: Path, name: str, passphrase: str | None = None, *, encrypt: bool = True) -> SigningKey:
    """Makes a new key and saves it in ``folder``, encrypted if a passphrase is given or ``$THERIAC_PASSPHRASE`` is set.

    Args:
        folder: Where the keys are; made if absent.
        name: The key's name.
        passphrase: What to encrypt with; ``$THERIAC_PASSPHRASE`` by default.
        encrypt: False keeps the key in plain text whatever the environment says.

    Raises:
        UserError: If the name is taken or is no plain name, or the folder cannot be written to.
    """
    key = SigningKey.new()
    path = path_of(folder, name)
    pem = to_pem(key, (passphrase or os.environ.get(PASSPHRASE)) if encrypt else None)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, pem)
    except FileExistsError:
        raise UserError("there is a key of this name already", where=path, do="choose another --name") from None
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror}", where=path, do="choose another folder") from None
    write_text(path.with_suffix(".did"), key.did + "\n")
    return key


def to_pem(key: SigningKey, passphrase: str | None) -> bytes:
    """Returns the key as PKCS#8 PEM, encrypted if there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def load(folder: Path, name: str, *, ask: Callable[[], str] | None = None) -> SigningKey:
    """Opens the key ``name`` in ``folder``.

    Args:
        folder: Where the keys are.
        name: The key's name.
        ask: Called for the passphrase of an encrypted key, unless ``$THERIAC_PASSPHRASE`` is set.

    Raises:
        UserError: If there is no such Ed25519 key, others can read it, or its passphrase is wrong or missing.
    """
    path = path_of(folder, name)
    try:
        with path.open("rb") as file:
            if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise UserError("others can read this private key", where=path, do=f"run: chmod 600 {path}")
            pem = file.read(1 << 16)
    except FileNotFoundError:
        raise UserError("no such key", where=path, do=f"make one with: theriac keys new --name {name}") from None
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    secret = None
    if _is_encrypted(pem):
        secret = os.environ.get(PASSPHRASE) or (ask() if ask else None)
        if not secret:
            raise UserError("the key is encrypted", where=path, do=f"give its passphrase in {PASSPHRASE}")
    try:
        private = serialization.load_pem_private_key(pem, secret.encode() if secret else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UserError("wrong passphrase" if secret else "not a private key in PEM form", where=path) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise UserError("not an Ed25519 key", where=path, do="make one with: theriac keys new")
    return SigningKey(private)


def load_or_create(folder: Path, name: str = "default") -> SigningKey:
    """Opens the key ``name``, making it first if there is none.

    Never asks anything: without ``$THERIAC_PASSPHRASE`` the new key is in plain text, and a line on the standard error
    stream says so.
    """
    if not path_of(folder, name).exists():
        try:
            key = create(folder, name)
            if not os.environ.get(PASSPHRASE):
                print(f"Made the signing key {path_of(folder, name)}. {NOT_ENCRYPTED}", file=sys.stderr)
            return key
        except UserError:
            if not path_of(folder, name).exists():  # else another process was faster
                raise
    return load(folder, name)


def listed(folder: Path) -> list[KeyEntry]:
    """Returns the keys in ``folder``, by name. Needs no passphrase."""
    entries = []
    for path in sorted(folder.glob("*.pem")):
        try:
            encrypted = _is_encrypted(path.read_bytes())
        except OSError as error:
            raise UserError(f"cannot read: {error.strerror}", where=path) from None
        note = path.with_suffix(".did")
        did = load(folder, path.stem).did if not encrypted else note.read_text().strip() if note.exists() else ""
        entries.append(KeyEntry(path.stem, did, encrypted, path))
    return entries


def public_of(folder: Path, name: str) -> str:
    """Returns the DID of the key ``name``. Needs no passphrase.

    Raises:
        UserError: If there is no such key, or it is encrypted and the note beside it is lost.
    """
    path_of(folder, name)
    for entry in listed(folder):
        if entry.name == name:
            if entry.did:
                return entry.did
            raise UserError("the note with its identifier is lost", where=entry.path, do="sign with it to see it")
    return load(folder, name).did  # says that there is none


def path_of(folder: Path, name: str) -> Path:
    """Returns the file of the key ``name``; refuses names that are not plain ones."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is not a key's name", do="use letters, digits, dots, dashes and underscores")
    return folder / f"{name}.pem"


def _is_encrypted(pem: bytes) -> bool:
    return b"ENCRYPTED" in pem


def write_private(path: Path, pem: bytes) -> None:
    """Creates ``path``, readable by its owner only, whole or not at all; never replaces a file."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600, O_EXCL
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, fails if the name is taken
    finally:
        os.unlink(temporary)
