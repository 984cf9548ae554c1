"""The laboratory of the driver: a new array for each test, and the actions of its operators.

`snapmanage.testing.lab` describes each member.
"""

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from snapmanage_driver_array.driver import ArrayDriver

TABLES = """
CREATE TABLE volumes (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, size_bytes INTEGER);
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, volume_id INTEGER REFERENCES volumes,
    size_bytes INTEGER, created_at INTEGER DEFAULT (unixepoch()), mounted INTEGER DEFAULT 0
);
"""


class ArrayLab:
    # The capabilities of the array; `held` and `add_many` are two more, and `add_unusable` is missing.
    reports_storage_id = False
    reports_creation_time = True
    lists_volumes = True
    volume = "volume-1"
    size_bytes = 3 * 1024**3
    impossible_names = ("\ud800",)
    legal_characters = "".join(map(chr, range(1, 128))) + "é\U0001f600"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "array.sqlite"
        with closing(sqlite3.connect(self.path)) as array:
            array.executescript(TABLES)
        self.driver = ArrayDriver(str(self.path), 10)
        self.add_volume(self.volume)

    @property
    def scan(self) -> tuple[Any, str]:
        return self.driver.array, "query"

    def name_of(self, word: str) -> str:
        return word

    def add_volume(self, word: str) -> str:
        self._change("INSERT INTO volumes (name, size_bytes) VALUES (?, ?)", (word, self.size_bytes))
        return word

    def add_snapshot(self, name: str) -> None:
        self._add_snapshots(self.volume, name)

    def add_many(self, count: int) -> None:
        self._add_snapshots(self.volume, *(f"many-{number}" for number in range(count)))

    def add_oddities(self) -> None:
        self._add_snapshots(self.add_volume("odd-volume"), "odd-daily", "odd-mounted", "odd-volume")
        self._change("UPDATE snapshots SET mounted = 1 WHERE name = ?", ("odd-mounted",))
        self._add_snapshots(self.add_volume("gone"), "odd-orphan", "odd-mounted-orphan")
        self._change("UPDATE snapshots SET mounted = 1 WHERE name = ?", ("odd-mounted-orphan",))
        self._change("DELETE FROM volumes WHERE name = ?", ("gone",))

    def orphan(self, name: str) -> None:
        self._change(
            "DELETE FROM volumes WHERE id = (SELECT volume_id FROM snapshots WHERE name = ?)",
            (name,),
        )

    def remove(self, name: str) -> None:
        self._change("DELETE FROM snapshots WHERE name = ?", (name,))

    def names(self) -> set[str]:
        with closing(sqlite3.connect(self.path)) as array:
            return set(itertools.chain.from_iterable(array.execute("SELECT name FROM snapshots")))

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        self._change("UPDATE snapshots SET mounted = 1 WHERE name = ?", (name,))
        yield
        self._change("UPDATE snapshots SET mounted = 0 WHERE name = ?", (name,))

    def go_away(self) -> None:
        self.path.rename(self.path.with_suffix(".gone"))

    def come_back(self) -> None:
        self.path.with_suffix(".gone").rename(self.path)

    def _add_snapshots(self, volume: str, *names: str) -> None:
        self._change(
            "INSERT INTO snapshots (name, volume_id, size_bytes) SELECT ?, id, size_bytes FROM volumes WHERE name = ?",
            *((name, volume) for name in names),
        )

    def _change(self, statement: str, *values: tuple[object, ...]) -> None:
        with closing(sqlite3.connect(self.path)) as array, array:
            array.executemany(statement, values)
