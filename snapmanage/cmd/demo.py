"""snapmanage demo: show the main task step by step on a temporary folder, through the REST API."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snapmanage import errors
from snapmanage.cmd.process import output

PROJECT = "0123456789abcdef0123456789abcdef"
VOLUME = "disk1.img"
SNAPSHOTS = ("daily", "weekly", "before-upgrade")
TIMEOUT_SECONDS = 20


def run() -> int:
    """Run the demo; stop the server and remove the folder even after a failure."""
    scratch = Path(tempfile.mkdtemp(prefix="snapmanage-demo-"))
    try:
        _make_storage(scratch / "backend")
        # -P: another user may have put modules into the current folder, such as /tmp, which -c alone would import.
        program = "import sys; from snapmanage.cmd.main import main; sys.exit(main())"
        command = [sys.executable, "-P", "-c", program]
        arguments = ["standalone", "--data-dir", str(scratch), "--listen", "127.0.0.1:0"]
        with subprocess.Popen(command + arguments, stdout=subprocess.PIPE, text=True) as process:
            try:
                _show_steps(scratch, _await_ready(process))
            finally:
                process.terminate()
        output.line()
        output.line(f"The server shut down with exit code {process.returncode}. Removing {scratch}.")
        return process.returncode
    finally:
        shutil.rmtree(scratch)


def _make_storage(backend: Path) -> None:
    backend.mkdir(parents=True)
    (backend / VOLUME).write_bytes(b"the volume's data" * 1000)
    for name in SNAPSHOTS:
        shutil.copy(backend / VOLUME, backend / f"{VOLUME}@{name}")
    _step("Create storage that snapmanage does not manage yet: a volume and three snapshots of it, as files")
    _show_files(backend)


def _await_ready(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line.startswith("ready: "):
        raise errors.Unavailable("the standalone server did not start; see its error above")
    _step("Start `snapmanage standalone`: API, server, relay and audit in one process")
    output.line(f"   {line}")
    return f"{line.split()[1]}/{PROJECT}"


def _show_steps(scratch: Path, url: str) -> None:
    volume = _register(url)
    _list(url)
    managed = _manage(url, volume, f"{VOLUME}@daily")
    _show_files(scratch / "backend")
    failed = _manage(url, volume, f"{VOLUME}@no-such-snapshot")
    _explain(url, failed)
    _step("Show the audit log of both: each operation has one start event, and one end or error event")
    for snapshot_id in (managed, failed):
        for event in _trail(url, snapshot_id):
            output.line(f"   {event['occurred_at'][11:23]}  {event['event_type']:24} {snapshot_id}  {event['status']}")


def _trail(url: str, snapshot_id: str) -> list[dict[str, Any]]:
    """Return the events of a settled operation; its last event reaches the audit log a moment later."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        events: list[dict[str, Any]] = _get(f"{url}/snapshots/{snapshot_id}/operation")["operation"]["events"]
        if time.monotonic() > deadline or (events and events[-1]["event_type"].endswith((".end", ".error"))):
            return events
        time.sleep(0.005)


def _register(url: str) -> str:
    _step("Register the volume, which its snapshots need: POST /os-volume-manage")
    body = {"host": "localhost@files", "ref": {"source-name": VOLUME}, "name": "my disk"}
    volume_id = str(_post(f"{url}/os-volume-manage", {"volume": body})["volume"]["id"])
    _await_settled(lambda: _get(f"{url}/volumes/{volume_id}")["volume"])
    return volume_id


def _list(url: str) -> None:
    _step("List the manageable snapshots: GET /os-snapshot-manage/detail?host=localhost@files")
    for entry in _get(f"{url}/os-snapshot-manage/detail?host=localhost@files")["manageable-snapshots"]:
        safe = "can be managed" if entry["safe_to_manage"] else f"can't be managed: {entry['reason_not_safe']}"
        output.line(f"   {json.dumps(entry['reference'])}  {entry['size']} GiB  {safe}")


def _manage(url: str, volume_id: str, source: str) -> str:
    _step(f"Manage {source}: POST /os-snapshot-manage")
    body = {"volume_id": volume_id, "ref": {"source-name": source}, "name": source.partition("@")[2]}
    snapshot_id = str(_post(f"{url}/os-snapshot-manage", {"snapshot": body})["snapshot"]["id"])
    _await_settled(lambda: _get(f"{url}/snapshots/{snapshot_id}")["snapshot"])
    return snapshot_id


def _explain(url: str, snapshot_id: str) -> None:
    _step(f"Show why it is in error: GET /messages?resource_uuid={snapshot_id}")
    for message in _get(f"{url}/messages?resource_uuid={snapshot_id}")["messages"]:
        output.line(f"   {message['event_id']}: {message['user_message']}")


def _await_settled(look: Callable[[], dict[str, Any]]) -> None:
    """Print each status of a resource until it is `available` or `error`."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    seen = ""
    while seen not in ("available", "error"):
        if time.monotonic() > deadline:
            raise errors.Unavailable(
                f"the status is still {seen} after {TIMEOUT_SECONDS} seconds; repeat the demo when the host is idle"
            )
        resource = look()
        if resource["status"] != seen:
            seen = resource["status"]
            output.line(f"   {resource['id']} is {seen}")
        time.sleep(0.005)


def _show_files(backend: Path) -> None:
    for path in sorted(backend.iterdir()):
        output.line(f"   {path.name}")


def _post(url: str, body: dict[str, Any]) -> Any:
    return _request(urllib.request.Request(url, json.dumps(body).encode(), method="POST"))


def _get(url: str) -> Any:
    return _request(urllib.request.Request(url))


def _request(request: urllib.request.Request) -> Any:
    request.add_header("Content-Type", "application/json")
    request.add_header("OpenStack-API-Version", "volume 3.8")
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        return json.load(answer)


_steps = 0


def _step(text: str) -> None:
    global _steps
    _steps += 1
    output.line()
    output.line(f"{_steps}. {text}")
