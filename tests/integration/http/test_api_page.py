"""Send the requests of docs/reference/api.md as they are printed, and compare the answers with the page.

Ids, times and addresses differ from run to run; all else must be equal.
"""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.integration.reader import DOCS, Reader, steady

PAGE = (DOCS / "reference" / "api.md").read_text()
FILES = ("disk1.img", "disk1.img@daily", "disk1.img@weekly", "disk1.img@monthly")
# The size of the files, which the page shows in GiB.
SIZE_BYTES = 100 * 1024**2
VOLATILE = {
    r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d\.\d+)": "TIME",
    r'"(backend_id|snapmanage:identity)": "[^"]+"': "BACKEND_ID",
    r"'/[^']*/backend'": "FOLDER",
    r'"version": "0\.[^"]+"': "VERSION",
}


@dataclass(frozen=True)
class Example:
    """A request as the page prints it, and its answer; the text of a long answer ends with "…"."""

    command: str
    status: str
    answer: str


def examples() -> list[Example]:
    blocks = re.findall(r"```console\n\$ (curl .*?)\n# (\d+)\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == PAGE.count("$ curl"), "a request of the page has no answer"
    return [Example(*block) for block in blocks]


class ApiReader(Reader):
    """A reader of the page: replaces the ids in its requests by those of new records."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        images = folder / "backend"
        images.mkdir(parents=True)
        for name in FILES:
            with (images / name).open("wb") as file:
                file.truncate(SIZE_BYTES)
        self.start_standalone()
        self.variables = {"V": "OpenStack-API-Version: volume 3.8", "J": "Content-Type: application/json"}
        self.variables["API"] = self.project_url

    def send(self, command: str) -> tuple[str, str]:
        """Send a request with curl, and return status and body."""
        here = re.sub(r"/messages/[0-9a-f-]+", "/messages/$MESSAGE", command)
        body, _, status = self.run(f"{here} -w '\\n%{{http_code}}'", self.variables).rpartition("\n")
        return status, body


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[ApiReader]:
    with closing(ApiReader(tmp_path / "data")) as made:
        yield made


def test_answers_equal_those_on_the_page(reader: ApiReader) -> None:
    differing = []
    for example in examples():
        prepare(reader, example.command)
        status, body = reader.send(example.command)
        follow(reader, example.command, body)
        if (status, stable(body)[: len(shown(example))]) != (example.status, shown(example)):
            differing.append(f"{example.command}\n# {status}\n{stable(body)}")

    assert differing == []


def shown(example: Example) -> str:
    """Return the page's answer up to its "…", without the values that differ from run to run."""
    return steady(example.answer.partition(" …\n")[0].strip(), VOLATILE)


def stable(body: str) -> str:
    return steady(json.dumps(json.loads(body), indent=1, ensure_ascii=False), VOLATILE) if body else ""


def prepare(reader: ApiReader, command: str) -> None:
    """Do the things between two requests that the page describes in words."""
    if "/messages?" in command:
        body = {"snapshot": {"volume_id": reader.variables["VOLUME"], "ref": {"source-name": "disk1.img@nowhere"}}}
        answer = requests.post(f"{reader.project_url}/os-snapshot-manage", json=body, timeout=30)
        reader.variables["SNAPSHOT"] = answer.json()["snapshot"]["id"]
        reader.await_answer(f"snapshots/{reader.variables['SNAPSHOT']}", "error")


def follow(reader: ApiReader, command: str, body: str) -> None:
    """Note the id of a new record or message, and wait for the end of the operation."""
    if '"retry"' in command and "/snapshots/" in command:
        reader.await_answer(f"snapshots/{reader.variables['SNAPSHOT']}", "error")
    if "os-unmanage" in command and "/snapshots/" in command:
        reader.await_answer(f"snapshots/{reader.variables['SNAPSHOT']}", "itemNotFound")
    if "/messages?" in command:
        reader.variables["MESSAGE"] = json.loads(body)["messages"][0]["id"]
    for kind, variable in (("volume", "VOLUME"), ("snapshot", "SNAPSHOT")):
        if "-d '{\"" + kind in command and (created := json.loads(body).get(kind)):
            reader.variables[variable] = created["id"]
            reader.await_answer(f"{kind}s/{created['id']}", "available")
