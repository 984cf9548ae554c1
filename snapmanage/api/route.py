"""The dataclasses of the routes table: a path, and the operations on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from snapmanage.api.parameters import Parameter
from snapmanage.api.request import Answer, ApiRequest
from snapmanage.api.schemas import Schema
from snapmanage.api.versions import MINIMUM, Version

Handler = Callable[[ApiRequest], Answer]


@dataclass(frozen=True)
class Operation:
    """A method of a path: whoever `rule` allows may; one without a rule is everybody's, unauthenticated.

    `answers` names the schema of each answer that is no refusal, None for an empty one. `keyed` is one
    that makes something, once for each idempotency key.
    """

    handler: Handler
    rule: str | None = None
    body: Schema | None = None
    answers: Mapping[int, str | None] = field(default_factory=dict)
    query: Sequence[Parameter] = ()
    keyed: bool = False


@dataclass(frozen=True)
class Route:
    """The operations of a path, by method; below `since` the path isn't there."""

    methods: Mapping[str, Operation]
    since: Version = MINIMUM


Table = Mapping[str, Route]
