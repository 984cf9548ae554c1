"""A Cinder whose volumes snapmanage serves, for the tests: its API, and a scheduler that forwards each request."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import requests

from snapmanage.testing.services.process import LOOPBACK, Service
from snapmanage.testing.waiting import until
from tests.services.keystone import Keystone

SERVER = Path(__file__).parent / "cinder_server.py"
PASTE = Path(sys.prefix) / "etc" / "cinder" / "api-paste.ini"
PROJECT = "0123456789abcdef0123456789abcdef"
HOST = "storage-1@pool1"
VOLUME_ID = "916bf7fc-22b0-4089-9528-bec5083ba14e"

CONFIGURATION = """\
[DEFAULT]
transport_url = {transport_url}
control_exchange = {exchange}
auth_strategy = {auth_strategy}
api_paste_config = {paste}
state_path = {folder}
log_file = {folder}/cinder.app.log
service_down_time = 1000000000
osapi_volume_workers = 1
[database]
connection = {database}
[oslo_concurrency]
lock_path = {folder}
[oslo_messaging_rabbit]
rabbit_quorum_queue = true
{more}
"""


class Cinder(Service):
    """A Cinder with one available volume on `HOST`; each request is of an administrator of `PROJECT`.

    Without the URL of a database it uses SQLite, and serves one request at a time: SQLite refuses concurrent writers.
    """

    as_nobody = False  # the user `nobody` may not be allowed to read the virtual environment

    def __init__(
        self,
        transport_url: str,
        exchange: str,
        auth_strategy: str,
        more: str,
        token: str,
        project: str,
        folder: Path,
        database: str | None = None,
    ) -> None:
        super().__init__(folder)
        self.database = database or f"sqlite:///{folder / 'cinder.db'}"
        self.project = project
        self.token = token
        self._text = partial(
            CONFIGURATION.format,
            transport_url=transport_url,
            exchange=exchange,
            auth_strategy=auth_strategy,
            paste=PASTE,
            more=more,
        )

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/v3"

    def prepare(self) -> None:
        (self.folder / "cinder.conf").write_text(self._text(folder=self.folder, database=self.database))

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-P", SERVER, str(self.port), self.project, HOST, VOLUME_ID]

    def environment(self) -> Mapping[str, str]:
        return {"OS_CINDER_CONFIG": str(self.folder / "cinder.conf")}

    def answers(self) -> bool:
        try:
            return bool(requests.get(f"http://{LOOPBACK}:{self.port}/", timeout=5).status_code == 300)
        except requests.RequestException:
            return False

    def manage(self, source: str) -> str:
        """Request to manage a snapshot, and return the id of Cinder's record."""
        body = {"snapshot": {"volume_id": VOLUME_ID, "ref": {"source-name": source}, "name": source}}
        return str(self.request("POST", "/os-snapshot-manage", body).json()["snapshot"]["id"])

    def unmanage(self, snapshot_id: str) -> None:
        self.request("POST", f"/snapshots/{snapshot_id}/action", {"os-unmanage": {}})

    def status(self, snapshot_id: str) -> str:
        return str(self.request("GET", f"/snapshots/{snapshot_id}").json()["snapshot"]["status"])

    def snapshots(self) -> list[str]:
        return [str(each["id"]) for each in self.request("GET", "/snapshots").json()["snapshots"]]

    def await_status(self, snapshot_id: str, status: str, seconds: float = 30) -> None:
        until(lambda: self.status(snapshot_id) == status, f"Cinder's snapshot {snapshot_id} to be {status}", seconds)

    def request(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Send a request to the API; fail unless it succeeds."""
        headers = {"X-Auth-Token": self.token, "OpenStack-API-Version": "volume 3.8"}
        url = f"{self.endpoint}/{self.project}{path}"
        answer = requests.request(method, url, json=body, headers=headers, timeout=30)
        assert answer.ok, f"{answer.status_code}: {answer.text}"
        return answer


def without_keystone(transport_url: str, exchange: str, folder: Path, database: str | None = None) -> Cinder:
    """Return a Cinder that believes each caller."""
    return Cinder(transport_url, exchange, "noauth", "", f"admin:{PROJECT}", PROJECT, folder, database)


def behind_keystone(transport_url: str, exchange: str, keystone: Keystone, folder: Path) -> Cinder:
    """Return a Cinder that accepts the tokens of a Keystone."""
    project, service = keystone.project(), keystone.project()
    user_id, password = keystone.user("admin", service)
    more = (
        f"[keystone_authtoken]\nauth_type = password\nauth_url = {keystone.url}\n"
        f"www_authenticate_uri = {keystone.url}\nuser_id = {user_id}\npassword = {password}\nproject_id = {service}\n"
    )
    return Cinder(transport_url, exchange, "keystone", more, keystone.token("admin", project), project, folder)
