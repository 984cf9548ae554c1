"""Run the commands of the page about the clients as they are printed, in another folder and on another port."""

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from snapmanage.testing.waiting import until
from tests.integration.reader import DOCS, Reader

PARTS = (DOCS / "how-to" / "clients.md").read_text().split("\n## ")
PRINTED_FOLDER = "/tmp/clients"
PLAIN = {"PATH": os.defpath, "HOME": "/dev/null", "PYTHONWARNINGS": "ignore"}


class PageReader(Reader):
    """A reader of the page: keeps the variables of each terminal, and waits for the end of each operation."""

    def __init__(self, folder: Path, programs: Path) -> None:
        super().__init__(folder)
        self._folder = folder
        self._programs = programs
        self._variables: list[str] = []

    def open_terminal(self) -> None:
        self._variables = []

    def type(self, command: str) -> None:
        if " standalone " in command:
            return self.start_standalone()
        if re.match(r"export |[A-Z]+=", command):
            return self._variables.append(command)
        if "/pip " not in command:
            here = command.replace(".venv/bin", str(self._programs)).replace(PRINTED_FOLDER, str(self._folder))
            self.run("\n".join(["set -e", *self._variables, here]), PLAIN)
            until(self._is_settled, f"the end of: {command}")
        return None

    def _is_settled(self) -> bool:
        if not self.root:
            return True
        texts = [
            requests.get(f"{self.project_url}/{kind}/detail", timeout=30).text for kind in ("volumes", "snapshots")
        ]
        return not re.search('"status": "(creating|unmanaging)"', "".join(texts))


@pytest.fixture
def reader(tmp_path: Path, programs: Path) -> Iterator[PageReader]:
    with closing(PageReader(tmp_path / "clients", programs)) as made:
        yield made


def test_commands_of_the_page_succeed_in_their_order(reader: PageReader, tmp_path: Path) -> None:
    for part in PARTS:
        reader.open_terminal()
        for command in re.findall(r"^\$ (.*)$", part, re.MULTILINE):
            reader.type(command)

    names = {file.name for file in (tmp_path / "clients" / "backend").iterdir()}
    assert names == {"disk1.img", "disk1.img@daily", "disk2.img", "disk2.img@daily"}
