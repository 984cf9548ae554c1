"""The client commands as processes, against the API of a world."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snapmanage.testing.services.daemon import Daemon
from tests.functional.client import Client
from tests.functional.cmd.programs import FOLDER


class Shell:
    """A folder in which the commands run, and the service that they talk to."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.folder = folder
        self.environment = {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": f"{client.root}/v3/{client.project}"}

    def daemon(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Daemon:
        """Return a command that has not started yet."""
        argv = [str(FOLDER / "snapmanage"), *arguments]
        return Daemon(arguments[0], argv, Path(os.devnull), self.environment | dict(environment or {}), is_warm=True)

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return self.daemon(*arguments, environment=environment).run()

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the rows that a successful command prints as JSON."""
        ended = self.run(*arguments, "-f", "json")
        assert ended.returncode == 0, ended.stderr
        rows: list[dict[str, Any]] = json.loads(ended.stdout)
        return rows
