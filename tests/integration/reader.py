"""A reader of the documentation: types the commands of a page in a shell."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import requests

from snapmanage.testing import needs
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.deployment import PROJECT
from snapmanage.testing.waiting import until

DOCS = Path(__file__).parents[2] / "docs"
PRINTED_ADDRESS = "http://127.0.0.1:8776"
# Values that differ from run to run, and their names.
VOLATILE = {
    r"http://127\.0\.0\.1:\d+": "ADDRESS",
    r"(req-)?[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}": "ID",
}


class Reader:
    """A reader with `snapmanage standalone` on a folder; the commands of the pages get its address."""

    def __init__(self, folder: Path) -> None:
        needs.require("bash", "curl")
        self.ready = self.root = ""
        command = [str(Path(sys.executable).parent / "snapmanage"), "standalone", "--data-dir", str(folder)]
        self._daemon = Daemon("standalone", [*command, "--listen", "127.0.0.1:0"], folder.with_name("log"))

    def start_standalone(self) -> None:
        self.ready = self._daemon.start()
        self.root = self.ready.split()[1].removesuffix("/v3")

    @property
    def project_url(self) -> str:
        return f"{self.root}/v3/{PROJECT}"

    def run(self, script: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a script with the service's address in place of the printed one, and return its output."""
        here = script.replace(PRINTED_ADDRESS, self.root)
        done = subprocess.run(["bash", "-c", here], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    def await_answer(self, path: str, word: str) -> None:
        """Wait until the answer to a path of the project contains a word in quotes."""
        address = f"{self.project_url}/{path}"
        until(lambda: f'"{word}"' in requests.get(address, timeout=30).text, f"{word} in the answer to {path}")

    def close(self) -> None:
        self._daemon.close()


def steady(text: str, volatile: Mapping[str, str] = {}) -> str:
    """Return a text with names in place of the values that differ from run to run; a page may have further ones."""
    for pattern, name in (VOLATILE | dict(volatile)).items():
        text = re.sub(pattern, name, text)
    return text
