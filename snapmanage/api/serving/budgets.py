"""Bounds on the bytes that all connections of a process hold together."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# A connection that holds no more is spared: all connections of a process hold less than half a budget in this way.
SPARED_BYTES = 16 * 1024


@dataclass(frozen=True)
class Budget:
    """A bound of `most` bytes; `held` returns the bytes of a connection, and `release` whether it released them.

    Beyond the bound, connections of the client that holds most are released, beginning with the longest waiting one.
    So a client that floods the API loses its own connections, and small requests and answers of others are safe.
    """

    most: int
    held: Callable[[Any], int]
    release: Callable[[Any], bool]

    def enforce(self, channels: list[Any], spared: Any = None) -> None:
        """Release connections until the others hold at most `most` bytes."""
        sizes = {each: size for each in channels if (size := self.held(each))}
        excess = sum(sizes.values()) - self.most
        if excess <= 0:
            return
        for channel in _release_order(sizes):
            if channel is not spared and self.release(channel):
                excess -= sizes[channel]
                if excess <= 0:
                    return


def _release_order(sizes: dict[Any, int]) -> list[Any]:
    of_client: Counter[str] = Counter()
    for channel, size in sizes.items():
        of_client[channel.client] += size
    large = [channel for channel, size in sizes.items() if size > SPARED_BYTES]
    return sorted(large, key=lambda each: (-of_client[each.client], each.client, each.since))
