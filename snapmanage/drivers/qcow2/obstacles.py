"""What keeps images of a directory from being renamed: files that may lead to them in a form that can't be changed.

An obstacle holds for the images that a record surely means, compared by device and inode; for those with a name
that it may mean on another host; or, where it can't be followed, for every image of the directory.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Obstacle:
    """One reason, a clause for an operator, and the images that it holds for."""

    reason: str
    identities: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    everything: bool = False


@dataclass
class Obstacles:
    """The obstacles of one scan; of several for one image, the first that was added is told."""

    _by_identity: dict[str, str] = field(default_factory=dict)
    _by_name: dict[str, str] = field(default_factory=dict)
    _everything: str = ""

    @classmethod
    def of(cls, found: Iterable[Obstacle]) -> "Obstacles":
        obstacles = cls()
        for each in found:
            obstacles._add(each)
        return obstacles

    def before(self, identity: str, names: Collection[str]) -> str:
        """Why the image can't be renamed; empty where nothing is in the way."""
        by_name = next((self._by_name[name] for name in names if name in self._by_name), "")
        return self._by_identity.get(identity) or by_name or self._everything

    def before_name(self, name: str) -> str:
        """Like `before`, for what may lead to exactly this name."""
        return self._by_name.get(name, "")

    def _add(self, each: Obstacle) -> None:
        for identity in each.identities:
            self._by_identity.setdefault(identity, each.reason)
        for name in each.names:
            self._by_name.setdefault(name, each.reason)
        if each.everything:
            self._everything = self._everything or each.reason
