"""Count the entries of a plan while they pass by, and keep a few examples."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from snapmanage.client.plan.entries import Entry, Manage, RegisterVolume, Skip
from snapmanage.core.origins import protection
from snapmanage.core.values.text import cut, numbered, printable

SAMPLES = 10
LONGEST_SAMPLE = 100
LONGEST_WARNING = 300


@dataclass
class Tally:
    """The counts of a plan or of its rest, by host, origin and reason."""

    volumes: int = 0
    snapshots: int = 0
    retries: int = 0
    changed: int = 0
    size_gb: int = 0
    forced: int = 0
    by_host: Counter[str] = field(default_factory=Counter)
    by_origin: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[str, str]] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        match entry:
            case RegisterVolume():
                self.volumes += 1
            case Skip():
                self.skipped[entry.why] += 1
            case Manage():
                self._add_snapshot(entry)

    def _add_snapshot(self, entry: Manage) -> None:
        self.snapshots += 1
        self.size_gb += entry.expect.size
        self.forced += protection.forced(entry.metadata)
        self.by_host[entry.host] += 1
        self.by_origin[entry.metadata.get("origin", "unknown")] += 1
        self.warnings.update(entry.warnings)
        if len(self.samples) < SAMPLES:
            self.samples.append((entry.source, _new_name(entry)))

    @property
    def headline(self) -> str:
        """Return the counts in one line."""
        why = ", ".join(f"{count} {why}" for why, count in self.skipped.most_common())
        parts = {
            f"{numbered(self.snapshots, 'snapshot')} to manage ({self.size_gb} GiB)": True,
            f"{self.retries} failed to retry": self.retries,
            f"{numbered(self.volumes, 'volume')} to register": True,
            f"{self.changed} changed since the plan was made and not sent": self.changed,
            f"{self.skipped.total()} skipped ({why})": why,
        }
        return ", ".join(part for part, is_shown in parts.items() if is_shown)

    def lines(self) -> Iterator[str]:
        """Yield the summary on which a person decides to start."""
        yield self.headline
        if self.forced:
            yield f"{self.forced} of them get new names even if their programs need the old ones ({protection.FORCE})"
        yield from _counted("host", self.by_host)
        yield from _counted("origin", self.by_origin)
        for text, count in self.warnings.most_common(SAMPLES):
            yield f"warning for {count}: {_shown(text, LONGEST_WARNING)}"
        for before, after in self.samples:
            yield f"  {_shown(before)} -> {_shown(after)}"
        if self.snapshots > len(self.samples):
            yield f"  and {self.snapshots - len(self.samples)} more"


def _new_name(entry: Manage) -> str:
    """Return the name that the plan shows, if it can be the one that the service gives: it holds the id."""
    shown = entry.renamed_to or ""
    return shown if entry.snapshot_id and entry.snapshot_id in shown else "a name with the id of its record"


def _counted(what: str, counts: "Counter[str]") -> Iterator[str]:
    for name, count in counts.most_common(SAMPLES):
        yield f"{what} {_shown(name)}: {count}"


def _shown(text: str, longest: int = LONGEST_SAMPLE) -> str:
    return cut(printable(text), longest)
