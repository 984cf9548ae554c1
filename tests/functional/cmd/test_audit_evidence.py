"""`snapmanage-manage audit`: keys, checkpoints, exports and the purge; the programs of the page verify them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pycadf import attachment, cadftaxonomy, event, reason, resource

from snapmanage.testing.needs import require
from tests.functional.cmd.programs import Standalone, manage, refusal
from tests.functional.cmd.test_audit import execute, with_a_managed_snapshot

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "audit.md").read_text()
PROGRAMS = {name: text for text, name in re.findall(r"```python\n(# (\w+\.py): .*?)```", PAGE, re.DOTALL)}


class Evidence:
    """The files of an operator who keeps a log as evidence."""

    def __init__(self, standalone: Standalone, folder: Path) -> None:
        self.standalone, self.folder = standalone, folder
        self.head = with_a_managed_snapshot(standalone)
        self.key, self.public_key = folder / "audit.key", folder / "audit.key.pub"
        self.checkpoint, self.export = folder / "checkpoint", folder / "export"

    def audit(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return manage(self.standalone, "audit", *map(str, arguments))

    def make(self) -> None:
        """Make a key, a checkpoint and an export."""
        for arguments in (
            ("key", "create", self.key),
            ("checkpoint", "--key", self.key, "--output", self.checkpoint),
            ("export", "--output", self.export),
        ):
            assert self.audit(*arguments).returncode == 0

    def with_checkpoint(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        files = ("--checkpoint", self.checkpoint, "--public-key", self.public_key)
        return self.audit(command, *files, *arguments)

    def program(self, name: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run a program of the page."""
        file = self.folder / name
        file.write_text(PROGRAMS[name])
        return subprocess.run([sys.executable, file, *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture
def evidence(standalone: Standalone, tmp_path: Path) -> Evidence:
    return Evidence(standalone, tmp_path)


def test_key_is_readable_by_its_owner_only_and_never_overwritten(evidence: Evidence) -> None:
    evidence.audit("key", "create", evidence.key)
    first = evidence.key.read_bytes()

    assert (evidence.key.stat().st_mode & 0o777, evidence.public_key.stat().st_mode & 0o777) == (0o600, 0o644)
    assert "not overwritten" in refusal(evidence.audit("key", "create", evidence.key))
    assert evidence.key.read_bytes() == first
    assert sorted(path.name for path in evidence.folder.iterdir() if "key" in path.name) == [
        "audit.key",
        "audit.key.pub",
    ]


def test_key_that_others_may_read_signs_nothing(evidence: Evidence) -> None:
    evidence.make()
    evidence.key.chmod(0o640)

    assert "chmod 600" in refusal(evidence.audit("checkpoint", "--key", evidence.key))


def test_key_of_another_user_signs_nothing(evidence: Evidence) -> None:
    require(root=True)
    evidence.make()
    os.chown(evidence.key, 65534, -1)

    assert "another user owns" in refusal(evidence.audit("checkpoint", "--key", evidence.key))


def test_large_file_is_neither_a_key_nor_a_checkpoint(evidence: Evidence) -> None:
    evidence.make()
    os.truncate(evidence.checkpoint, 2**33)

    assert "more than 65536 bytes" in refusal(evidence.with_checkpoint("verify"))


def test_no_private_key_is_left_if_its_public_key_can_not_be_written(evidence: Evidence) -> None:
    evidence.public_key.symlink_to("nowhere")

    assert "not overwritten" in refusal(evidence.audit("key", "create", evidence.key))
    assert not evidence.key.exists()


def test_log_verifies_against_its_checkpoint(evidence: Evidence) -> None:
    evidence.make()

    verified = evidence.with_checkpoint("verify")

    assert (verified.returncode, verified.stdout) == (0, f"2 rows, head {evidence.head}\n")


@pytest.mark.parametrize("field", ["number", "digest", "log_id", "made_at", "generations_digest", "rows"])
def test_changed_checkpoint_is_refused(evidence: Evidence, field: str) -> None:
    evidence.make()
    content = json.loads(evidence.checkpoint.read_text())
    value = content["checkpoint"][field]
    content["checkpoint"][field] = (
        value - 1 if isinstance(value, int) else value[:-1] + ("0" if value[-1] != "0" else "1")
    )
    evidence.checkpoint.write_text(json.dumps(content))

    assert "signature" in refusal(evidence.with_checkpoint("verify"))
    assert "signature" in refusal(evidence.with_checkpoint("purge"))


def test_checkpoint_of_another_key_is_refused(evidence: Evidence) -> None:
    evidence.make()
    for file in (evidence.key, evidence.public_key):
        file.unlink()
    evidence.audit("key", "create", evidence.key)

    assert "was signed with the key" in refusal(evidence.with_checkpoint("verify"))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"checkpoint": {}, "signature": ""}', "\N{CAMERA}"])
def test_other_file_is_no_checkpoint(evidence: Evidence, content: str) -> None:
    evidence.make()
    evidence.checkpoint.write_text(content)

    assert "not a checkpoint" in refusal(evidence.with_checkpoint("verify"))


def test_checkpoint_without_its_public_key_is_refused(evidence: Evidence) -> None:
    assert "--public-key" in refusal(evidence.audit("verify", "--checkpoint", "c"))
    assert "can't be read" in refusal(evidence.audit("verify", "--checkpoint", "c", "--public-key", "missing"))


def test_dry_run_shows_the_rows_that_a_purge_then_deletes(evidence: Evidence) -> None:
    evidence.make()

    shown = evidence.with_checkpoint("purge", "--dry-run")
    whole = evidence.audit("verify")
    deleted = evidence.with_checkpoint("purge")
    again = evidence.with_checkpoint("purge")
    verified = evidence.with_checkpoint("verify")

    assert shown.stdout == "Would delete rows 1 to 2 (2 rows).\n"
    assert whole.stdout == f"2 rows, head {evidence.head}\n"
    assert deleted.stdout == "Deleted the rows up to 2 of 2.\n"
    assert again.stdout == "No row up to 2 is left.\n"
    digest = evidence.head.partition(":")[2]
    assert verified.stdout == (
        f"NOTE: rows up to 2 were purged, anchored by digest {digest}\n0 rows, head {evidence.head}\n"
    )
    assert verified.returncode == 0


def test_programs_of_the_page_verify_an_export_and_a_checkpoint(evidence: Evidence) -> None:
    evidence.make()

    head = evidence.program("verify_checkpoint.py", evidence.checkpoint, evidence.public_key).stdout.strip()
    verified = evidence.program("verify_export.py", evidence.export, head)

    assert head == evidence.head
    assert (verified.returncode, verified.stdout) == (0, f"{head}\n")


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        (lambda lines: [lines[0], lines[1].replace("available", "error")], "row 2 was changed"),
        (lambda lines: [lines[1], lines[0]], "row 1 does not follow from row 2"),
        (lambda lines: lines[:1], "the export ends at 1:"),
    ],
    ids=["changed", "out of order", "cut off"],
)
def test_programs_of_the_page_find_a_changed_export(evidence: Evidence, tampering: Any, found: str) -> None:
    evidence.make()
    evidence.export.write_text("".join(tampering(evidence.export.read_text().splitlines(keepends=True))))

    assert found in evidence.program("verify_export.py", evidence.export, evidence.head).stderr


def test_changed_checkpoint_fails_the_program_of_the_page(evidence: Evidence) -> None:
    evidence.make()
    evidence.checkpoint.write_text(evidence.checkpoint.read_text().replace('"number": 2', '"number": 1'))

    ended = evidence.program("verify_checkpoint.py", evidence.checkpoint, evidence.public_key)

    assert "InvalidSignature" in ended.stderr


def test_part_of_the_log_is_exported(evidence: Evidence) -> None:
    rows = [json.loads(line) for line in evidence.audit("export").stdout.splitlines()]

    first = evidence.audit("export", "--until", "1").stdout
    second = evidence.audit("export", "--since", f"1:{rows[0]['digest']}").stdout

    assert [json.loads(first), json.loads(second)] == rows
    assert evidence.audit("export", "--since", "1").stdout == second
    assert evidence.audit("export", "--since", "2").stdout == ""
    assert "has no row 9" in refusal(evidence.audit("export", "--since", "9"))
    assert "NUMBER" in refusal(evidence.audit("export", "--since", "x"))


def test_broken_chain_is_exported_and_reported(evidence: Evidence) -> None:
    execute(evidence.standalone, "UPDATE audit SET generation = 7 WHERE number = 2")

    exported = evidence.audit("export")
    refused = evidence.audit("checkpoint", "--key", evidence.key)

    assert (exported.returncode, len(exported.stdout.splitlines())) == (1, 2)
    assert exported.stderr == "BROKEN: row 2 was changed\n"
    assert refused.returncode == 1


def test_other_digest_before_the_export_is_reported(evidence: Evidence) -> None:
    exported = evidence.audit("export", "--since", f"1:{'a' * 64}")

    assert (exported.returncode, exported.stderr) == (1, "BROKEN: row 2 doesn't follow from row 1\n")


def test_existing_file_is_not_overwritten_by_an_export(evidence: Evidence) -> None:
    evidence.export.write_text("older")

    assert "not overwritten" in refusal(evidence.audit("export", "--output", evidence.export))
    assert evidence.export.read_text() == "older"


@pytest.mark.filterwarnings("ignore:Invalid uuid")  # the user of http_basic and noauth has a name for an id
def test_exported_events_follow_cadf(evidence: Evidence) -> None:
    start, end = map(json.loads, evidence.audit("export", "--format", "cadf").stdout.splitlines())

    assert (start["action"], start["outcome"]) == ("enable/manage", "pending")
    assert (end["action"], end["outcome"]) == ("enable/manage", "success")
    for exported in (start, end):
        assert cadf_event(exported).is_valid()
        assert cadftaxonomy.is_valid_action(exported["action"])
        assert cadftaxonomy.is_valid_outcome(exported["outcome"])
        assert all(cadftaxonomy.is_valid_resource(exported[role]["typeURI"]) for role in ("initiator", "target"))
        assert exported["typeURI"] == "http://schemas.dmtf.org/cloud/audit/1.0/event"
    rows = [json.loads(line) for line in evidence.audit("export").stdout.splitlines()]
    assert [exported["attachments"][0]["content"] for exported in (start, end)] == rows


def cadf_event(exported: dict[str, Any]) -> event.Event:
    """Return an event of the library pycadf, which checks the fields that CADF requires."""
    initiator, target, observer = (
        resource.Resource(**{name: exported[role].get(name) for name in ("id", "typeURI", "name")})
        for role in ("initiator", "target", "observer")
    )
    names = ("eventType", "id", "eventTime", "action", "outcome")
    made = event.Event(
        **{name: exported[name] for name in names},
        initiator=initiator,
        target=target,
        observer=observer,
        reason=reason.Reason(**exported["reason"]) if "reason" in exported else None,
    )
    for each in exported["attachments"]:
        made.add_attachment(attachment.Attachment(**each))
    return made
