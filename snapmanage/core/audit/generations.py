"""Sets of generations, which are mostly a few ranges."""

from collections.abc import Iterable
from dataclasses import dataclass

from snapmanage import errors


@dataclass(frozen=True)
class Generations:
    """A set of generations, written as `1-4,6`."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Generations":
        """Parse ranges such as `1-4,6`; raise `InvalidRequest` for any other text."""
        try:
            bounds = [part.partition("-") for part in text.split(",")] if text else []
            return cls._of([(int(first), int(last or first)) for first, _, last in bounds])
        except ValueError as error:
            raise errors.InvalidRequest(f"generations must be ranges such as 1-4,6, not {text[:50]!r}") from error

    def __contains__(self, generation: int) -> bool:
        return any(first <= generation <= last for first, last in self.ranges)

    def __str__(self) -> str:
        return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in self.ranges)

    @property
    def highest(self) -> int:
        """Return the highest generation, 0 for an empty set."""
        return self.ranges[-1][1] if self.ranges else 0

    def with_each(self, generations: Iterable[int]) -> "Generations":
        return self._of([*self.ranges, *((each, each) for each in generations)])

    @classmethod
    def _of(cls, bounds: Iterable[tuple[int, int]]) -> "Generations":
        joined: list[tuple[int, int]] = []
        for first, last in sorted(bounds):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], last))
            else:
                joined.append((first, last))
        return cls(tuple(joined))


NONE = Generations()
