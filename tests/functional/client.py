"""A client of a world's API, which sends requests without checks."""

from collections.abc import Mapping
from typing import Any

import requests

PROJECT = "0123456789abcdef0123456789abcdef"
SERVER = "storage-1@fast"


class Client:
    """Requests of one project, sent without checks; `headers` are sent with each."""

    def __init__(self, address: str, project: str = PROJECT, version: str | None = None) -> None:
        self.root = f"http://{address}"
        self.project = project
        self.headers: dict[str, str] = {}
        self._version = version
        self.session = requests.Session()
        self.session.trust_env = False  # otherwise requests looks for proxies and a netrc file at each request

    def close(self) -> None:
        self.session.close()

    def request(
        self, method: str, path: str, version: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> requests.Response:
        """Send a request for `path` of the project; a path that begins with / belongs to the root."""
        url = f"{self.root}{path}" if path.startswith("/") else f"{self.root}/v3/{self.project}/{path}"
        microversion = version or self._version
        versioned = {"OpenStack-API-Version": f"volume {microversion}"} if microversion else {}
        all_headers = versioned | self.headers | dict(headers or {})
        return self.session.request(method, url, headers=all_headers, timeout=30, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.request("POST", path, **more)

    def follow(self, url: str) -> dict[str, Any]:
        """Get the target of a link."""
        answer = self.request("GET", url.removeprefix(self.root))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def manage(self, volume_id: str, ref: Any, **fields: Any) -> requests.Response:
        return self.post("os-snapshot-manage", json={"snapshot": {"volume_id": volume_id, "ref": ref} | fields})

    def manage_volume(self, ref: Any, host: Any = SERVER, **fields: Any) -> requests.Response:
        return self.post("os-volume-manage", json={"volume": {"host": host, "ref": ref} | fields})

    def unmanage(self, snapshot_id: str) -> requests.Response:
        return self.post(f"snapshots/{snapshot_id}/action", json={"os-unmanage": None})

    def retry(self, snapshot_id: str) -> requests.Response:
        return self.post(f"snapshots/{snapshot_id}/action", json={"retry": None})

    def unmanage_volume(self, volume_id: str) -> requests.Response:
        return self.post(f"volumes/{volume_id}/action", json={"os-unmanage": None})

    def retry_volume(self, volume_id: str) -> requests.Response:
        return self.post(f"volumes/{volume_id}/action", json={"retry": None})

    def snapshot(self, snapshot_id: str, version: str | None = None) -> dict[str, Any]:
        return self._shown(f"snapshots/{snapshot_id}", "snapshot", version)

    def volume(self, volume_id: str) -> dict[str, Any]:
        return self._shown(f"volumes/{volume_id}", "volume")

    def operation(self, snapshot_id: str) -> dict[str, Any]:
        return self._shown(f"snapshots/{snapshot_id}/operation", "operation")

    def messages(self, resource_id: str) -> list[dict[str, Any]]:
        answer = self.get("messages", version="3.5", params={"resource_uuid": resource_id})
        messages: list[dict[str, Any]] = answer.json()["messages"]
        return messages

    def manageable(self, host: str = SERVER, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.get("os-snapshot-manage/detail", params={"host": host} | parameters)
        assert answer.status_code == 200, answer.text
        entries: list[dict[str, Any]] = answer.json()["manageable-snapshots"]
        return entries

    def manageable_volumes(self, host: str = SERVER, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.get("os-volume-manage/detail", params={"host": host} | parameters)
        assert answer.status_code == 200, answer.text
        entries: list[dict[str, Any]] = answer.json()["manageable-volumes"]
        return entries

    def _shown(self, path: str, kind: str, version: str | None = None) -> dict[str, Any]:
        answer = self.get(path, version=version)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()[kind]
        return shown


def fault(answer: requests.Response) -> tuple[int, str, str]:
    """Return status, name and text of an error, after a check of its form."""
    [(name, body)] = answer.json().items()
    assert body.keys() == {"code", "message"}
    assert body["code"] == answer.status_code
    assert "Traceback" not in answer.text
    assert answer.headers["X-Openstack-Request-Id"].startswith("req-")
    return answer.status_code, name, body["message"]
