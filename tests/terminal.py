"""A shell in a pseudo-terminal, for tests that type commands and read the screen like a person."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snapmanage.testing import needs

LINES, COLUMNS = 40, 120
CTRL_C = "\x03"
PATIENCE_SECONDS = 60
# The prompt carries the exit code of the last command, between characters that no command prints.
_MARK = "\x1e"
_PROMPT = re.compile(f"{_MARK}(\\d+){_MARK}\\$ $")
_ERASE_LINE = "\r\x1b[2K"
_STYLE = re.compile(r"\x1b\[[0-9;?]*[hlm]")


@dataclass(frozen=True)
class Shown:
    """The text that a command left on the screen, after its own line, and its exit code."""

    text: str
    code: int


class Terminal:
    """An interactive bash, whose commands have a controlling terminal: they ask, draw progress, and get Ctrl-C."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        needs.require("bash", "setsid")
        self._file, inside = os.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        known = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "TZ": "UTC", "PS1": f"{_MARK}$?{_MARK}$ "}
        command = ["setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"]
        self._shell = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, cwd=folder, env=known | dict(environment)
        )
        os.close(inside)
        self._output = b""
        self._await_prompt()

    def run(self, command: str, keys: Mapping[str, str] = {}) -> Shown:
        """Run a command. `keys` are typed, each once, when the output has their text."""
        self._output = b""
        self._type(f"{command}\n")
        for text, typed in keys.items():
            self._await(text)
            self._type(typed)
        code = self._await_prompt()
        _, _, text = _on_screen(_PROMPT.sub("", self._text())).partition("\n")
        return Shown(text, code)

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._file)

    def _type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def _text(self) -> str:
        return self._output.decode(errors="replace").replace("\r\n", "\n")

    def _await(self, text: str) -> None:
        while text not in self._text():
            assert not _PROMPT.search(self._text()), f"the command ended without {text!r}: {self._text()}"
            self._read()

    def _await_prompt(self) -> int:
        while not (found := _PROMPT.search(self._text())):
            self._read()
        return int(found[1])

    def _read(self) -> None:
        ready, _, _ = select.select([self._file], [], [], PATIENCE_SECONDS)
        assert ready, f"nothing was printed for {PATIENCE_SECONDS} s after: {self._text()[-1000:]}"
        self._output += os.read(self._file, 1 << 16)


def _on_screen(output: str) -> str:
    """Return an output without colours, and with only the last state of each redrawn line."""
    plain = _STYLE.sub("", output)
    return "\n".join(line.rpartition(_ERASE_LINE)[2] for line in plain.split("\n"))
