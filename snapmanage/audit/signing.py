"""Keys and signatures of checkpoints: Ed25519, by the library cryptography."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from snapmanage import errors
from snapmanage.core.audit import checkpoint as checkpoints
from snapmanage.core.audit.checkpoint import Checkpoint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


# A key has 120 bytes and a checkpoint less than a thousand; a file of another user may have any size.
LARGEST_FILE = 64 * 1024


class KeyPair(NamedTuple):
    """The files of a new key, in PEM."""

    private: bytes
    public: bytes


def new_key() -> KeyPair:
    _require_library()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return KeyPair(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()),
        key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo),
    )


def private_key(path: Path) -> "Ed25519PrivateKey":
    """Read a private key; raise `InvalidRequest` if other users may read or own it, or if it is no Ed25519 key."""
    _require_library()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem, status = _read(path)
    if status.st_mode & 0o077:
        raise errors.InvalidRequest(f"other users may access the private key {path}: run chmod 600 on it")
    if status.st_uid not in (os.geteuid(), 0):
        raise errors.InvalidRequest(f"another user owns the private key {path}: make a new key with `audit key create`")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise errors.InvalidRequest(f"{path} is not a private key in PEM without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise errors.InvalidRequest(f"{path} is not an Ed25519 key; `audit key create` makes one")
    return key


def public_key(path: Path) -> "Ed25519PublicKey":
    """Read a public key; raise `InvalidRequest` if the file is no Ed25519 key."""
    _require_library()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(_read(path)[0])
    except (ValueError, TypeError) as error:
        raise errors.InvalidRequest(f"{path} is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise errors.InvalidRequest(f"{path} is not an Ed25519 key; `audit key create` makes one")
    return key


def fingerprint(key: "Ed25519PublicKey") -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def verified(path: Path, key: "Ed25519PublicKey") -> Checkpoint:
    """Read a checkpoint; raise `InvalidRequest` unless this key has signed it."""
    from cryptography.exceptions import InvalidSignature

    try:
        text = _read(path)[0].decode()
    except UnicodeDecodeError as error:
        raise errors.InvalidRequest(f"{path} is not a checkpoint") from error
    checkpoint, signature = checkpoints.load(text)
    if checkpoint.public_key_sha256 != fingerprint(key):
        raise errors.InvalidRequest(
            f"the checkpoint was signed with the key {checkpoint.public_key_sha256}, not with {fingerprint(key)}"
        )
    try:
        key.verify(signature, checkpoint.signed_text.encode())
    except InvalidSignature as error:
        raise errors.InvalidRequest(f"the signature of {path} is wrong: the checkpoint was changed") from error
    return checkpoint


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    """Return the content of a file and the status of that same file."""
    try:
        with path.open("rb") as file:
            content, status = file.read(LARGEST_FILE + 1), os.fstat(file.fileno())
    except OSError as error:
        raise errors.InvalidRequest(f"{path} can't be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise errors.InvalidRequest(f"{path} has more than {LARGEST_FILE} bytes: it is neither a key nor a checkpoint")
    return content, status


def _require_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise errors.ConfigurationError(
            "checkpoints require the library cryptography: pip install 'snapmanage[audit]'"
        ) from error
