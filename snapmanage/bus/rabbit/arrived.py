"""The messages that a consumer holds, no more than a number and no more than so many bytes, and the size of batches."""

from typing import Any

MOST_MESSAGES = 200
# Bytes of the held messages from which a consumer leaves further ones to the broker. RabbitMQ knows no such limit:
# with 200 messages of 15 MiB, the prefetch alone would admit 3 GB.
MOST_BYTES = 8 * 1024**2


class BatchSize:
    """The number of messages that a batch may have, up to `most`.

    A batch is acknowledged as a whole, so one that takes too long is delivered again without any progress. Its part is
    tried next, in the end a single message.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.messages = most

    def after_failure(self, messages: int) -> None:
        """Halve the size, because a batch of so many messages could not be handled."""
        self.messages = max(1, min(self.messages, messages) // 2)

    def after_success(self, quick: bool) -> None:
        """Double the size if the batch was handled so quickly that one of the double size would be too."""
        if quick:
            self.messages = min(self._most, 2 * self.messages)


class ArrivedMessages:
    """The messages of one channel that have arrived and are not acknowledged, in their order."""

    def __init__(self, prefetch: int) -> None:
        self._prefetch = prefetch
        self._messages: list[Any] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def heavy(self) -> bool:
        """Return whether the messages have `MOST_BYTES` or more."""
        return self._bytes >= MOST_BYTES

    @property
    def full(self) -> bool:
        return self.heavy or len(self._messages) >= self._prefetch

    def add(self, message: Any) -> None:
        self._messages.append(message)
        self._bytes += _size(message)

    def batch(self, most: int) -> list[Any]:
        """Return the first `most` messages, or all if there are fewer."""
        return self._messages[:most]

    def remove(self, batch: list[Any]) -> None:
        """Remove the messages of a batch, which are the first ones."""
        del self._messages[: len(batch)]
        self._bytes -= sum(map(_size, batch))


def _size(message: Any) -> int:
    return len(message.body or b"")
