"""The notes that snapper writes beside its snapshots. Debian's snapper 0.10.4 has written the files of `FILES`."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from snapmanage.drivers.btrfs.snapper import LARGEST, NO_NOTES, Notes, notes, parsed
from tests import examples

FILES = examples.MESSAGES.parent / "snapper"
TAKEN_AT = datetime(2026, 11, 30, 13, 15, 39, tzinfo=UTC).timestamp()

NAMES = (".snapshots/17/snapshot", "17/snapshot", "x/17/snapshot", "daily/snapshot", "17/snapshot-1", "18/snapshot")


def notes_in(folder: Path, name: str) -> Notes:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return notes(descriptor, name)
    finally:
        os.close(descriptor)


def document(inside: str, start: str = '<?xml version="1.0"?>') -> bytes:
    return f"{start}<snapshot>{inside}</snapshot>".encode()


@pytest.mark.parametrize(
    ("name", "description"),
    [("single", 'before the "upgrade" <1> & ümlaut'), ("pre", "zypp(zypper)"), ("post", "")],
)
def test_date_and_description_are_read(name: str, description: str) -> None:
    assert parsed((FILES / f"{name}.xml").read_bytes()) == Notes(TAKEN_AT, description)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"<snapshot><date>2026-11-30 13:15:39</date>",
        b"\xff\xfe<\x00s\x00",
        document("<date>2026-11-30 13:15:39</date><description>\xff</description>").replace(b"\xc3\xbf", b"\xff"),
        document("<description>&nobody;</description>"),
        document("<description>&e;</description>", '<!DOCTYPE snapshot [<!ENTITY e "text">]>'),
        document("<description>&e;</description>", '<!DOCTYPE snapshot [<!ENTITY e SYSTEM "/etc/passwd">]>'),
        document("<date>2026-11-30 13:15:39</date>", '<!DOCTYPE snapshot SYSTEM "http://127.0.0.1/x.dtd">'),
    ],
    ids=["empty", "text", "cut", "UTF-16", "bytes", "entity", "own entity", "file", "document type"],
)
def test_other_content_has_no_notes(content: bytes) -> None:
    assert parsed(content) == NO_NOTES


@pytest.mark.parametrize(
    "date", ["", "now", "2026-13-01 00:00:00", "2026-02-30 00:00:00", "2026-01-01 25:00:00", "0000-01-01 00:00:00"]
)
def test_wrong_date_leaves_the_description(date: str) -> None:
    assert parsed(document(f"<date>{date}</date><description>text</description>")) == Notes(0.0, "text")


def test_elements_elsewhere_do_not_count() -> None:
    inside = "<userdata><date>2026-11-30 13:15:39</date><description>text</description></userdata>"

    assert parsed(document(inside)) == NO_NOTES
    assert parsed(document("<description>a<b>b</b>c</description>")) == Notes(0.0, "ac")


def test_encoding_of_the_document_is_ignored() -> None:
    assert parsed(document("<description>ü</description>", '<?xml version="1.0" encoding="rot13"?>')).description == "ü"


def test_long_description_is_cut() -> None:
    assert parsed(document(f"<description>{'x' * 1000}</description>")).description == "x" * 255


def test_folder_is_looked_into_for_names_of_snapper_only(tmp_path: Path) -> None:
    made = FILES / "pre.xml"
    for place in (".snapshots/17", "17", "daily", "x/17"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "info.xml").write_bytes(made.read_bytes())

    found = {name for name in NAMES if notes_in(tmp_path, name) != NO_NOTES}

    assert found == {".snapshots/17/snapshot", "17/snapshot", "x/17/snapshot"}


def test_file_that_another_user_could_have_made_is_not_read(tmp_path: Path) -> None:
    content = (FILES / "pre.xml").read_bytes()
    (tmp_path / "secret").write_bytes(content)
    for number in range(1, 6):
        (tmp_path / f"{number}").mkdir()
    (tmp_path / "1/info.xml").symlink_to("../secret")
    (tmp_path / "2/info.xml").hardlink_to(tmp_path / "secret")
    (tmp_path / "3/info.xml").mkdir()
    (tmp_path / "4/info.xml").write_bytes(content + b" " * LARGEST)
    os.mkfifo(tmp_path / "5/info.xml")
    (tmp_path / "6").symlink_to("7")
    (tmp_path / "7").mkdir()
    (tmp_path / "7/info.xml").write_bytes(content)

    found = [number for number in range(1, 8) if notes_in(tmp_path, f"{number}/snapshot") != NO_NOTES]

    assert found == [7]
