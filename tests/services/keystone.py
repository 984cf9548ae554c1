"""A Keystone for the tests, on SQLite, with users, roles and tokens as in production."""

import secrets
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgpack
import requests
from cryptography.fernet import Fernet
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from snapmanage.testing.services.process import LOOPBACK, Service, unique

SERVER = Path(__file__).parent / "keystone_server.py"

CONFIGURATION = """\
[DEFAULT]
log_file = {folder}/keystone.app.log
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/keys
[fernet_receipts]
key_repository = {folder}/keys
[credential]
key_repository = {folder}/keys
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
"""


class Keystone(Service):
    """A Keystone with the domain `default`; tests take names of projects and users from `unique`."""

    as_nobody = False  # the user `nobody` may not be allowed to read the virtual environment

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._password = secrets.token_urlsafe()
        self._keys = folder / "keys"

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/v3"

    def prepare(self) -> None:
        (self.folder / "keystone.conf").write_text(CONFIGURATION.format(folder=self.folder))
        self._keys.mkdir(mode=0o700)
        for name in ("0", "1"):
            (self._keys / name).write_bytes(Fernet.generate_key())

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-P", SERVER, str(self.port)]  # -P, or Python would import this file as `keystone`

    def environment(self) -> Mapping[str, str]:
        return {
            "OS_KEYSTONE_CONFIG_FILES": str(self.folder / "keystone.conf"),
            "OS_BOOTSTRAP_PASSWORD": self._password,
        }

    def answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=5).ok
        except requests.RequestException:
            return False

    def project(self) -> str:
        """Create a project and return its id."""
        body = {"project": {"name": unique("project"), "domain_id": "default"}}
        return str(self._request("POST", "/projects", body)["project"]["id"])

    def user(self, role: str, project_id: str) -> tuple[str, str]:
        """Create a user with a role in a project, and return id and password."""
        password = secrets.token_urlsafe()
        body = {"user": {"name": unique("user"), "domain_id": "default", "password": password}}
        user_id = str(self._request("POST", "/users", body)["user"]["id"])
        [known] = self._request("GET", f"/roles?name={role}")["roles"]
        self._request("PUT", f"/projects/{project_id}/users/{user_id}/roles/{known['id']}")
        return user_id, password

    def add_endpoint(self, service_type: str, url: str) -> None:
        """Add a service with one public endpoint to the catalog."""
        service = self._request("POST", "/services", {"service": {"type": service_type, "name": unique(service_type)}})
        endpoint = {"interface": "public", "url": url, "service_id": service["service"]["id"]}
        self._request("POST", "/endpoints", {"endpoint": endpoint})

    def session(self, user: tuple[str, str], project_id: str | None) -> Session:
        """Return a session of a user, scoped to a project or unscoped."""
        user_id, password = user
        scope: dict[str, Any] = {"project_id": project_id} if project_id else {"unscoped": True}
        return Session(auth=v3.Password(self.url, user_id=user_id, password=password, **scope))

    def token(self, role: str, project_id: str) -> str:
        """Return a token of a new user with a role in a project."""
        return str(self.session(self.user(role, project_id), project_id).get_token())

    def revoke(self, token: str) -> None:
        self._request("DELETE", "/auth/tokens", headers={"X-Subject-Token": token})

    def expire(self, token: str) -> str:
        """Return the token with an expiry one day earlier, signed with Keystone's own key."""
        key = Fernet((self._keys / "1").read_bytes())
        payload = msgpack.unpackb(key.decrypt(_padded(token)))
        [expires_at] = [number for number, part in enumerate(payload) if isinstance(part, float)]
        payload[expires_at] -= 86400
        return key.encrypt(msgpack.packb(payload)).rstrip(b"=").decode()

    @cached_property
    def _administrator(self) -> Session:
        return Session(
            auth=v3.Password(
                self.url,
                username="admin",
                user_domain_id="default",
                password=self._password,
                project_name="admin",
                project_domain_id="default",
            )
        )

    def _request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        answer = self._administrator.request(f"{self.url}{path}", method, json=body, headers=dict(headers or {}))
        return answer.json() if answer.content else None


def _padded(token: str) -> bytes:
    return token.encode() + b"=" * (-len(token) % 4)
