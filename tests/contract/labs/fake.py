"""Laboratory of the fake driver: volumes and snapshots in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from snapmanage.core.backend import GIB, Unsafe
from snapmanage.drivers.fake import FakeDriver


class FakeLab:
    reports_storage_id = True
    reports_creation_time = True
    lists_volumes = True
    volume = "volume-1"
    size_bytes = GIB
    impossible_names = ()
    legal_characters = "".join(map(chr, range(1, 128))) + "é\U0001f600"

    def __init__(self) -> None:
        self.driver = FakeDriver(fake_volumes=1, fake_snapshots=0)

    @property
    def scan(self) -> tuple[Any, str]:
        return self.driver, "hook"

    def name_of(self, word: str) -> str:
        return word

    def add_volume(self, word: str) -> str:
        return self.driver.add_volume(word).name

    def add_snapshot(self, name: str) -> None:
        self.driver.add_snapshot(self.volume, name)

    def add_many(self, count: int) -> None:
        for number in range(count):
            self.add_snapshot(f"many-{number}")

    def add_unusable(self, word: str) -> str:
        self.add_snapshot(word)
        self.driver.mark(word, Unsafe.UNUSABLE)
        return word

    def add_oddities(self) -> None:
        self.driver.add_volume("odd-volume")
        for name in ("odd-daily", "odd-spoiled", "odd-held"):
            self.driver.add_snapshot("odd-volume", name)
        self.driver.mark("odd-spoiled", Unsafe.UNUSABLE)
        self.driver.mark("odd-held", Unsafe.IN_USE)
        self.driver.add_volume("gone")
        self.driver.add_snapshot("gone", "odd-orphan")
        self.driver.remove("gone")

    def orphan(self, name: str) -> None:
        [snapshot] = (each for each in self.driver.list_snapshots() if each.name == name)
        self.driver.remove(str(snapshot.parent))

    def remove(self, name: str) -> None:
        self.driver.remove(name)

    def names(self) -> set[str]:
        return {found.name for found in self.driver.list_snapshots()}

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        self.driver.mark(name, Unsafe.IN_USE)
        yield
        self.driver.mark(name, None)

    def go_away(self) -> None:
        self.driver.go_away()

    def come_back(self) -> None:
        self.driver.come_back()
