"""The dataclasses of the routes table: a path and its operations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from snapmanage.api.parameters import Parameter
from snapmanage.api.request import Answer, ApiRequest
from snapmanage.api.schemas import Schema
from snapmanage.api.versions import MINIMUM, Version

Handler = Callable[[ApiRequest], Answer]


@dataclass(frozen=True)
class Operation:
    """A method of a path; `rule` is its policy. Without a rule it needs no authentication.

    `answers` has the schema name of each successful status, None for an empty answer. A `keyed` operation creates a
    record once for each idempotency key. `id_header` is the header by which a client chooses the id of a new record.
    The body of a batch may be larger than other bodies, and its handler checks the entries. An operation with a `query`
    refuses unknown parameters; a `lenient` one ignores them unless they resemble known ones. An operation with
    `actions` takes one of them in its body, and has the policy of each action instead of `rule`.
    """

    handler: Handler
    rule: str | None = None
    body: Schema | None = None
    answers: Mapping[int, str | None] = field(default_factory=dict)
    query: Sequence[Parameter] = ()
    keyed: bool = False
    lenient: bool = False
    id_header: str | None = None
    is_batch: bool = False
    actions: Mapping[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> Sequence[str]:
        """Return the policies; a caller needs one of them before the body is read."""
        return tuple(self.actions.values()) or ((self.rule,) if self.rule else ())


@dataclass(frozen=True)
class Route:
    """The operations of a path, by method; below microversion `since` the path does not exist."""

    methods: Mapping[str, Operation]
    since: Version = MINIMUM


Table = Mapping[str, Route]
