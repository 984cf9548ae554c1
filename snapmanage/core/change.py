"""The change of a record that a move of its lifecycle returns."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from snapmanage.core.events import Event
from snapmanage.core.records import Record
from snapmanage.core.usermessages import UserMessage

R_co = TypeVar("R_co", bound=Record, covariant=True)


@dataclass(frozen=True)
class Change(Generic[R_co]):
    """A record before and after a move, with the event and the user message of the same transaction."""

    before: R_co
    after: R_co
    event: Event | None = None
    message: UserMessage | None = None
