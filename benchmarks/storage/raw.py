"""The raw loop: the backend's own rename, one after the other, to a new name and back; nothing is checked."""

import time
from dataclasses import dataclass

from benchmarks.storage.backends import Backend


@dataclass
class RawLoop:
    """Runs of the loop, each of at most `seconds` however many snapshots are left."""

    backend: Backend
    seconds: float
    renames: int = 0
    used: float = 0.0

    def run(self) -> None:
        names, done = self.backend.names, 0
        started = time.perf_counter()
        with self.backend.renaming() as rename:
            for name in names:
                rename(name, self.backend.renamed(name))
                done += 1
                if time.perf_counter() - started > self.seconds / 2:
                    break
            for name in names[:done]:
                rename(self.backend.renamed(name), name)
        self.used += time.perf_counter() - started
        self.renames += 2 * done

    @property
    def figures(self) -> dict[str, float]:
        return {"ms": round(1000 * self.used / self.renames, 4), "renames": self.renames}
