"""A client of an array that is a file: the calls that the vendor driver needs to manage snapshots.

`target` is the file, JSON with `volumes` and `snapshots`: names with sizes in bytes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any


@dataclass
class Answer:
    items: list[Any] = field(default_factory=list)
    status_code: int = 200
    errors: list[Any] = field(default_factory=list)


@dataclass
class VolumePatch:
    name: str


class Client:
    def __init__(self, target: str, api_token: str, **_: Any) -> None:
        if not api_token:
            raise ValueError("no token")
        self._file = Path(target)

    def get_rest_version(self) -> str:
        return "2.26"

    def get_arrays(self) -> Answer:
        return Answer([SimpleNamespace(name="array-1", id="array-id", version="6.6.0")])

    def get_connections(self) -> Answer:
        return Answer()

    def get_volumes(self, names: Sequence[str] | None = None) -> Answer:
        return self._items("volumes", names)

    def get_volume_snapshots(self, names: Sequence[str] | None = None) -> Answer:
        return self._items("snapshots", names)

    def patch_volume_snapshots(self, names: Sequence[str], volume_snapshot: VolumePatch) -> Answer:
        array = json.loads(self._file.read_text())
        [old], new = names, volume_snapshot.name
        if old not in array["snapshots"] or new in array["snapshots"]:
            return _refused(old)
        array["snapshots"][new] = array["snapshots"].pop(old)
        self._file.write_text(json.dumps(array))
        return Answer()

    def _items(self, kind: str, names: Sequence[str] | None) -> Answer:
        held = json.loads(self._file.read_text())[kind]
        if names is not None and not set(names) <= set(held):
            return _refused(names[0])
        return Answer([_item(name, held[name]) for name in (held if names is None else names)])


def _item(name: str, size_bytes: int) -> Any:
    source = SimpleNamespace(name=name.partition(".")[0])
    return SimpleNamespace(name=name, provisioned=size_bytes, destroyed=False, source=source)


def _refused(name: str) -> Answer:
    return Answer(status_code=400, errors=[SimpleNamespace(message=f"{name} does not exist.")])
