"""Patterns of an operator's file: what is accepted, and the text of each refusal."""

from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.origins import definitions
from snapmanage.core.origins.patterns import Clock, Origins, Rename
from snapmanage.core.origins.table import BUILT_IN

ENTRY = {"tool": "nightly", "names": "nightly-{class}", "rename": "warn", "why": "a script removes it by its name"}


def read(*entries: Any, **more: Any) -> Origins:
    return Origins(definitions.read({"origins": list(entries), **more}, BUILT_IN))


def test_entry_holds_for_every_driver_and_volume_unless_it_names_some() -> None:
    origin = read(ENTRY).recognise("disk@nightly-full", None, "acme")

    assert origin is not None
    assert (origin.tool, origin.class_name, origin.rename) == ("nightly", "full", Rename.WARN)
    assert origin.why == ENTRY["why"]


def test_every_key_is_read() -> None:
    entry = ENTRY | {
        "names": ["nightly-{class}", "n-{class}"],
        "drivers": ["zfs"],
        "parents": ["vm-*"],
        "orphans": True,
        "classes": ["full"],
        "time": "local",
        "requires": "userrefs",
    }

    [pattern] = definitions.read({"origins": [entry]}, ())

    assert [form.text for form in pattern.names] == entry["names"]
    assert (pattern.drivers, pattern.clock, pattern.requires) == (frozenset(["zfs"]), Clock.LOCAL, "userrefs")
    table = Origins([pattern])
    held = {"userrefs": "2"}
    assert table.recognise("vm-1@nightly-full", "vm-1", "zfs", held)
    assert table.recognise("vm-1@nightly-full", None, "zfs", held)
    assert not table.recognise("vm-1@nightly-full", "vm-1", "zfs")
    assert not table.recognise("vm-1@nightly-half", "vm-1", "zfs", held)
    assert not table.recognise("disk@nightly-full", "disk", "zfs", held)
    assert not table.recognise("vm-1@nightly-full", "vm-1", "rbd", held)


def test_entry_is_tried_before_the_built_in_tools() -> None:
    mine = ENTRY | {"names": "autosnap_*", "class": "hand-made", "rename": "safe"}

    origin = read(mine).recognise("v@autosnap_2026-07-30_10:00:01_daily", "v", "zfs")

    assert origin is not None
    assert (origin.tool, origin.class_name, origin.rename) == ("nightly", "hand-made", Rename.SAFE)


def test_disabled_tool_is_not_recognised() -> None:
    name = "v@syncoid_nas_2020-01-27:12:30:01"

    assert read().recognise(name, "v", "zfs")
    assert not read(disable=["syncoid"]).recognise(name, "v", "zfs")


@pytest.mark.parametrize("content", [None, {}, {"origins": None}, {"origins": [], "disable": []}])
def test_file_without_entries_changes_nothing(content: Any) -> None:
    assert definitions.read(content, BUILT_IN) == list(BUILT_IN)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], "the file must have the keys origins"),
        ("text", "the file must have the keys origins"),
        ({"origin": []}, "the file must have the keys origins"),
        ({"origins": {}}, "origins must be a list"),
        ({"origins": [{}] * 101}, "at most 100 entries"),
        ({"disable": ["sanoit"]}, "disable names 'sanoit', but the built-in tools are Cinder"),
        ({"disable": {"sanoid": True}}, "disable must be a text, or a list"),
    ],
)
def test_wrong_file_is_refused_with_its_reason(content: Any, text: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        definitions.read(content, BUILT_IN)

    assert text in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"names": None}, "names is missing or empty"),
        ({"names": []}, "names is missing or empty"),
        ({"why": ""}, "why is missing or empty"),
        ({"names": ["a", 7]}, "names must be a printable text of 1 to 255 characters, not 7; quote it in YAML"),
        ({"names": "{years}"}, "names: {years} is no field; the fields are"),
        ({"names": ["x"] * 21}, "names must be a text, or a list of at most 20 texts"),
        ({"parents": "*" * 9}, "parents: '*********' has 9 *"),
        ({"rename": "never"}, "rename must be one of safe, warn, refuse, not 'never'"),
        ({"rename": True}, "rename must be one of safe, warn, refuse, not True"),
        ({"time": "CET"}, "time must be one of utc, local, not 'CET'"),
        ({"class": "a", "classes": ["b"]}, "it has class and classes; give only one of them"),
        ({"class": "x" * 65}, "class must be a printable text of 1 to 64 characters"),
        ({"orphans": "yes", "parents": "x"}, "orphans must be true or false, not 'yes'"),
        ({"orphans": True}, "orphans has no effect without parents; add parents, or leave it out"),
        ({"regex": ".*"}, "it has the unknown key 'regex'; the keys are tool, names, rename, why"),
        ({7: "x"}, "it has the unknown key 7"),
        ({"tool": "a\nb"}, "tool must be a printable text"),
        ({"tool": "a\0b"}, "tool must be a printable text"),
        ({"drivers": [["zfs"]]}, "drivers must be a printable text"),
    ],
)
def test_wrong_entry_is_refused_with_its_number_and_the_remedy(change: dict[Any, Any], text: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        read(ENTRY, ENTRY | change)

    assert str(refusal.value).startswith("entry 2 of origins")
    assert text in str(refusal.value)


def test_entry_that_is_no_object_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="entry 1 of origins: it must have the keys tool, names"):
        read("nightly")
