"""A pool and an image whose objects have any bytes."""

import struct
from collections.abc import Mapping


class Pool:
    """The part of a pool's context that `raw` uses: objects, and answers of their methods, in any form."""

    def __init__(self, objects: Mapping[str, bytes], answers: Mapping[str, list[bytes]]) -> None:
        self._objects = objects
        self._answers = {method: list(each) for method, each in answers.items()}

    def read(self, name: str, length: int = 8192) -> bytes:
        return self._objects.get(name, b"")[:length]

    def execute(self, name: str, kind: str, method: str, argument: bytes, length: int) -> tuple[int, bytes]:
        answers = self._answers.get(method) or [struct.pack("<I", 0)]
        return 0, (answers.pop(0) if len(answers) > 1 else answers[0])[:length]


class Image:
    """An open image whose snapshots have names of any bytes."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def id(self) -> str:
        return "1f"

    def snap_get_name(self, number: int) -> str:
        return self._name.decode()

    def snap_get_namespace_type(self, number: int) -> int:
        return 0


def pairs(*texts: bytes) -> bytes:
    """Encode a map of two strings."""
    return struct.pack("<I", len(texts) // 2) + b"".join(struct.pack("<I", len(text)) + text for text in texts)


DIRECTORY = struct.pack("<I", 0) + pairs(b"old.rbd", b"")
PAGES = (pairs(b"disk", b"1f", b"caf\xe9", b"2f"), pairs())
