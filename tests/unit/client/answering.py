"""A stand-in for the HTTP adapter of the client, with the answers that a test gives it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from requests.structures import CaseInsensitiveDict


@dataclass(frozen=True)
class Response:
    """An answer of the service."""

    status_code: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=CaseInsensitiveDict)

    def json(self) -> Any:
        return self.body


class FakeAdapter:
    """Answers each request by its method and path."""

    def __init__(self, answers: Mapping[tuple[str, str], Response]) -> None:
        self._answers = answers

    def request(self, path: str, method: str, **_: Any) -> Response:
        return self._answers[method, path]


def refusal(status: int, message: str, code: str | None = None) -> Response:
    headers = CaseInsensitiveDict({"snapmanage-error-code": code} if code else {})
    return Response(status, {"badRequest": {"code": status, "message": message}}, headers)
