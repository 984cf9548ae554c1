"""Run the commands of the tutorial as they are printed, in another folder and on another port."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from snapmanage.testing.waiting import until
from tests.integration.reader import DOCS, Reader

COMMANDS = re.findall(r"^\$ (.*)$", (DOCS / "tutorial" / "one-machine.md").read_text(), re.MULTILINE)
PRINTED_FOLDER = "/tmp/try"
RECORDS = {"VOLUME=...": "volumes", "SNAPSHOT=...": "snapshots"}


class TutorialReader(Reader):
    """A reader of the tutorial: copies ids from the answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.answers: list[str] = []
        self._variables: list[str] = []

    def type(self, command: str) -> None:
        if command == "make demo":
            return
        if " standalone " in command:
            self.start_standalone()
        elif command in RECORDS:
            self._copy_id(command)
        elif re.match(r"[A-Z]+=", command):
            self._variables.append(command)
        else:
            script = "\n".join(["set -e", *self._variables, command])
            self.answers.append(self.run(script.replace(PRINTED_FOLDER, str(self.folder))))
            assert '"code":' not in self.answers[-1], (command, self.answers[-1])

    def names(self) -> set[str]:
        return {file.name for file in (self.folder / "backend").iterdir()}

    def _copy_id(self, command: str) -> None:
        [created] = json.loads(self.answers[-1]).values()
        self._variables.append(command.replace("...", created["id"]))
        self.await_answer(f"{RECORDS[command]}/{created['id']}", "available")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[TutorialReader]:
    with closing(TutorialReader(tmp_path / "try")) as made:
        yield made


def listings(reader: TutorialReader) -> list[str]:
    """Return the output of each `ls`."""
    return [answer for answer in reader.answers if answer.startswith("disk1.img\n")]


def test_commands_of_the_tutorial_manage_and_unmanage_a_snapshot(reader: TutorialReader) -> None:
    for command in COMMANDS:
        reader.type(command)

    assert re.fullmatch(r"disk1\.img\ndisk1\.img@snapshot-[0-9a-f-]{36}\n", listings(reader)[0])
    [operation] = [json.loads(answer)["operation"] for answer in reader.answers if '"operation":' in answer]
    assert operation["status"] == "available"
    until(lambda: reader.names() == {"disk1.img", "disk1.img@daily"}, "the old name to be restored")
