"""A Prometheus for the tests, with the configuration and the rules that the documentation offers."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import requests

from snapmanage.testing.services.process import LOOPBACK, Service, installed

PROGRAMS = ("prometheus", "promtool")
MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = MONITORING / "rules.yaml"
SAMPLE = MONITORING / "prometheus.yaml"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(for: |\[)([0-9]+)([smhd])\b")
_AGE = re.compile(r"(_seconds\) > )([0-9]+)")


def shortened(rules: str, factor: int) -> str:
    """Return rules in which all time passes `factor` times as fast.

    This divides the time for which an alert waits, the windows of rates, and the ages in seconds with which an alert
    compares. All else is as deployed.
    """

    def duration(found: re.Match[str]) -> str:
        before, number, unit = found.groups()
        return f"{before}{1000 * int(number) * _SECONDS[unit] // factor}ms"

    return _AGE.sub(lambda found: f"{found[1]}{int(found[2]) / factor:g}", _DURATION.sub(duration, rules))


class Prometheus(Service):
    """Prometheus with the sample's configuration, which scrapes an exporter and other processes twice a second."""

    def __init__(self, folder: Path, exporter: str, others: Sequence[str], rules: str) -> None:
        super().__init__(folder)
        self.exporter = exporter
        self.others = others
        self.rules = rules

    def prepare(self) -> None:
        (self.folder / "rules.yaml").write_text(self.rules)
        (self.folder / "prometheus.yaml").write_text(self._configuration())

    def command(self) -> Sequence[str | Path]:
        return [
            installed("prometheus"),
            f"--config.file={self.folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--log.level=warn",
        ]

    def answers(self) -> bool:
        try:
            return requests.get(f"http://{LOOPBACK}:{self.port}/-/ready", timeout=5).ok
        except requests.RequestException:
            return False

    def firing(self, name: str = "") -> list[dict[str, str]]:
        """Return the labels of the alerts that fire at present, those of this name if it is given."""
        found = self._ask("alerts")["alerts"]
        labels: list[dict[str, str]] = [each["labels"] for each in found if each["state"] == "firing"]
        return [each for each in labels if not name or each["alertname"] == name]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression selects at present."""
        found: list[dict[str, Any]] = self._ask("query", query=expression)["result"]
        return found

    def _ask(self, path: str, **parameters: str) -> Any:
        answer = requests.get(f"http://{LOOPBACK}:{self.port}/api/v1/{path}", params=parameters, timeout=10)
        answer.raise_for_status()
        return answer.json()["data"]

    def _configuration(self) -> str:
        targets = "".join(f"          - {each}\n" for each in self.others)
        text = SAMPLE.read_text()
        for documented, actual in {"15s": "500ms", "127.0.0.1:9801": self.exporter}.items():
            assert documented in text
            text = text.replace(documented, actual)
        return text + targets


def scraping(exporter: str, others: Sequence[str], rules: str) -> Callable[[Path], Prometheus]:
    """Return a function that makes a Prometheus for these addresses, for `running`."""
    return lambda folder: Prometheus(folder, exporter, others, rules)
