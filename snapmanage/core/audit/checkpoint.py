"""Checkpoints of the audit log: statements about its entries, which are signed and kept elsewhere."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snapmanage import errors
from snapmanage.core.audit.chain import Head, canonical
from snapmanage.core.audit.generations import Generations

FORMAT = "snapmanage-audit-checkpoint-1"
ALGORITHM = "ed25519"
_FIELDS: dict[str, re.Pattern[str] | type[int]] = {
    "format": re.compile(re.escape(FORMAT)),
    "algorithm": re.compile(ALGORITHM),
    "public_key_sha256": re.compile(r"[0-9a-f]{64}"),
    "log_id": re.compile(r"[0-9a-f-]{0,36}"),
    "made_at": re.compile(r"[0-9T:.+-]{19,32}"),
    "number": int,
    "digest": re.compile(r"[0-9a-f]{64}"),
    "first_number": int,
    "rows": int,
    "generations_digest": re.compile(r"[0-9a-f]{64}"),
}
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


@dataclass(frozen=True)
class Checkpoint:
    """The log up to the entry `head`: the entries from `first_number` on were there and formed a chain.

    `generations_digest` covers the generations of the events of each snapshot up to the entry, purged ones included.
    """

    log_id: str
    head: Head
    first_number: int
    generations_digest: str
    made_at: str
    public_key_sha256: str

    @property
    def signed_text(self) -> str:
        """Return the text that the signature covers."""
        return canonical(
            {
                "format": FORMAT,
                "algorithm": ALGORITHM,
                "public_key_sha256": self.public_key_sha256,
                "log_id": self.log_id,
                "made_at": self.made_at,
                "number": self.head.number,
                "digest": self.head.digest,
                "first_number": self.first_number,
                "rows": self.head.number - self.first_number + 1,
                "generations_digest": self.generations_digest,
            }
        )


def dump(checkpoint: Checkpoint, signature: bytes) -> str:
    """Return the text of a checkpoint's file."""
    content = {"checkpoint": json.loads(checkpoint.signed_text), "signature": signature.hex()}
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def load(text: str) -> tuple[Checkpoint, bytes]:
    """Parse a checkpoint's file into the checkpoint and its signature, which is not verified here.

    Raise `InvalidRequest` if the file is no checkpoint.
    """
    try:
        content = json.loads(text)
        stated, signature = content["checkpoint"], content["signature"]
        valid = stated.keys() == _FIELDS.keys() and all(_valid(name, stated[name]) for name in _FIELDS)
        valid = valid and _SIGNATURE.fullmatch(signature) is not None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise errors.InvalidRequest("the file is not a checkpoint, as `audit checkpoint` writes it")
    names = ("log_id", "first_number", "generations_digest", "made_at", "public_key_sha256")
    made = Checkpoint(head=Head(stated["number"], stated["digest"]), **{name: stated[name] for name in names})
    if json.loads(made.signed_text) != stated:
        raise errors.InvalidRequest("the checkpoint's number of rows is wrong, so its signature is too")
    return made, bytes.fromhex(signature)


def generations_digest(generations: Iterable[tuple[str, Generations]]) -> str:
    """Return the digest of the generations of snapshots, which are in the order of their ids."""
    digest = hashlib.sha256()
    for snapshot_id, each in generations:
        digest.update(f"{snapshot_id} {each}\n".encode())
    return digest.hexdigest()


def _valid(name: str, value: Any) -> bool:
    form = _FIELDS[name]
    if isinstance(form, re.Pattern):
        return isinstance(value, str) and form.fullmatch(value) is not None
    return type(value) is int and 0 <= value < 2**63
