"""Run the commands of the tutorial as they are printed, in another folder and on another port."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests import needs
from tests.services.daemon import Daemon
from tests.services.deployment import PROJECT
from tests.waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "one-machine.md"
COMMANDS = re.findall(r"^\$ (.*)$", PAGE.read_text(), re.MULTILINE)
RECORDS = {"VOLUME=...": "volumes", "SNAPSHOT=...": "snapshots"}


class Reader:
    """A reader of the tutorial: types each command in a shell, and copies ids from the answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: list[str] = []
        self._root = ""
        self._variables: list[str] = []
        command = [str(Path(sys.executable).parent / "snapmanage"), "standalone", "--data-dir", str(folder)]
        self._daemon = Daemon("standalone", [*command, "--listen", "127.0.0.1:0"], folder.with_name("log"))

    def type(self, command: str) -> None:
        if command == "make demo":
            return
        if " standalone " in command:
            self._root = self._daemon.start().split()[1].removesuffix("/v3")
        elif command in RECORDS:
            self._copy_id(command)
        elif re.match(r"[A-Z]+=", command):
            self._variables.append(self._here(command))
        else:
            self.answers.append(self._run(self._here(command)))

    def names(self) -> set[str]:
        return {file.name for file in (self.folder / "backend").iterdir()}

    def close(self) -> None:
        self._daemon.close()

    def _here(self, command: str) -> str:
        return command.replace("/tmp/try", str(self.folder)).replace("http://127.0.0.1:8776", self._root)

    def _run(self, command: str) -> str:
        script = "\n".join(["set -e", *self._variables, command])
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert '"code":' not in done.stdout, (command, done.stdout)
        return done.stdout

    def _copy_id(self, command: str) -> None:
        [created] = json.loads(self.answers[-1]).values()
        self._variables.append(command.replace("...", created["id"]))
        address = f"{self._root}/v3/{PROJECT}/{RECORDS[command]}/{created['id']}"
        until(lambda: '"available"' in requests.get(address, timeout=30).text, f"{address} to be available")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    needs.require("bash", "curl")
    made = Reader(tmp_path / "try")
    try:
        yield made
    finally:
        made.close()


def listings(reader: Reader) -> list[str]:
    """Return the output of each `ls`."""
    return [answer for answer in reader.answers if answer.startswith("disk1.img\n")]


def test_commands_of_the_tutorial_manage_and_unmanage_a_snapshot(reader: Reader) -> None:
    for command in COMMANDS:
        reader.type(command)

    assert re.fullmatch(r"disk1\.img\ndisk1\.img@snapshot-[0-9a-f-]{36}\n", listings(reader)[0])
    [operation] = [json.loads(answer)["operation"] for answer in reader.answers if '"operation":' in answer]
    assert operation["status"] == "available"
    until(lambda: reader.names() == {"disk1.img", "disk1.img@daily"}, "the old name to be restored")
