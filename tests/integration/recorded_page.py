"""The tutorial that shows a terminal: run its commands, and put their outputs into the page.

    python -m tests.integration.recorded_page

writes the page again, and `make pages` runs it. The test of the page compares instead.
"""

import os
import re
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.integration.reader import DOCS, PRINTED_ADDRESS, Reader, steady
from tests.terminal import CTRL_C, Terminal

PAGE = DOCS / "tutorial" / "adopt.md"
# The folder that the page makes, and the one of `snapmanage standalone` in it.
FOLDER, DATA = "adopt", "data"
CODE = "echo $?"
QUESTION = "Type yes to start:"
# The output of a command that a person interrupts, and the text on the screen at that time.
INTERRUPTED, WAITING = "interrupted; continue with", "waiting"
# Steps that are not run: the test has a virtual environment.
INSTALLING = re.compile(r"python3 -m venv |\. \S+/activate|pip install ")
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
VOLATILE = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\dZ": "TIME",
    r"\.undo-\d{8}T\d+\.": ".undo-TIME.",
    # Progress depends on the machine, and so does how much of it a person sees.
    r"(?m)^waiting .*\n": "",
    r"(?m)^(\d+ creating, .*\n)+(?=\d+ creating, )": "",
    r"; [\d.]+ a second, \d+ s left": "",
}


class PageReader(Reader):
    """A reader with two terminals: `snapmanage standalone` runs in the first one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FOLDER / DATA)
        self._environment = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "HOME": str(folder)}
        self._terminal = Terminal(folder, self._environment)
        self._folder = folder

    def block(self, shown: str) -> str:
        """Return a block of the page with the outputs of a new run."""
        commands = COMMAND.findall(shown)
        following = [command for command, _ in commands[1:]] + [""]
        return "".join(
            f"$ {command}\n{self._output(command, before, then)}"
            for (command, before), then in zip(commands, following, strict=True)
        )

    def close(self) -> None:
        self._terminal.close()
        super().close()

    def _output(self, command: str, before: str, then: str) -> str:
        if INSTALLING.match(command):
            return before
        if " standalone " in command:
            return self._open_second_terminal()
        keys = {QUESTION: "yes\n"} if QUESTION in before else {}
        keys |= {WAITING: CTRL_C} if INTERRUPTED in before else {}
        ran = self._terminal.run(command, keys)
        assert ran.code == 0 or then == CODE, f"{command} ended with {ran.code}: {ran.text}"
        return ran.text

    def _open_second_terminal(self) -> str:
        """Start the service, and return its ready line with the printed address."""
        self.start_standalone()
        self._terminal.close()
        service = {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": self.project_url}
        self._terminal = Terminal(self._folder, self._environment | service)
        return f"{self.ready}\n".replace(self.root, PRINTED_ADDRESS)


def remade(page: str, folder: Path) -> str:
    """Return the page with the outputs of its commands, which work in an empty folder."""
    with closing(PageReader(folder)) as reader:
        return BLOCK.sub(lambda found: reader.block(found[0]), page)


def blocks(page: str) -> list[str]:
    """Return the blocks of the page without the values that differ from run to run."""
    return [steady(block, VOLATILE) for block in BLOCK.findall(page)]


if __name__ == "__main__":
    shown = PAGE.read_text()
    with TemporaryDirectory() as temporary:
        made = remade(shown, Path(temporary))
    if blocks(made) != blocks(shown):
        PAGE.write_text(made)
