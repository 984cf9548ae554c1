"""What a record may mean: no text that leads QEMU to a file is overlooked, and none makes reading fail."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage.drivers.qcow2.filenames import PossibleFiles, last_name, possible_files, possible_files_from_cwd
from snapmanage.drivers.system.deadline import within

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["file", "driver", "a.b", "a", "0"]), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("path", ["base", "/srv/base", "../x/base", "./a:b", "/a:b", "sub/json:{}"])
def test_path_is_followed_from_the_image(path: str) -> None:
    assert possible_files(path) == PossibleFiles(frozenset({path}))


@pytest.mark.parametrize("recorded", ["", "nbd:host:1", "https://host/base", "null-co://", 'json:{"driver":"null-co"}'])
def test_what_surely_is_no_file_means_nothing(recorded: str) -> None:
    assert possible_files(recorded) == PossibleFiles()


@pytest.mark.parametrize("recorded", ["/dev/fdset/1", "/proc/7/fd/8", "file:/dev/fd/3", 'json:{"file":"node"}'])
def test_what_only_a_running_qemu_knows_may_mean_anything(recorded: str) -> None:
    assert possible_files(recorded).any_file


def test_path_behind_a_protocol_starts_where_qemu_does() -> None:
    assert possible_files("file:sub/base") == PossibleFiles(frozenset({"sub/base"}), frozenset({"base"}))
    assert possible_files("file:/srv/base") == PossibleFiles(frozenset({"/srv/base"}))
    assert possible_files_from_cwd("sub/base") == possible_files("file:sub/base")


def test_each_path_behind_a_filter_counts() -> None:
    assert {"/a", "/b:/c", "/b", "/c"} <= possible_files("blkverify:/a:/b:/c").paths


@pytest.mark.parametrize("recorded", ["nfs://h/x/b%61se?uid=0", "ssh://h/base", "gluster+tcp://h/vol/base#x"])
def test_file_of_another_host_is_known_by_its_last_name(recorded: str) -> None:
    found = possible_files(recorded)

    assert "base" in found.names
    assert not found.paths


@pytest.mark.parametrize(
    "options",
    [
        '{"file.filename":"/srv/base"}',
        '{"file":{"filename":"/srv/base"}}',
        '{"children":[{"file":{"filename":"/srv/base"}}]}',
        '{"children.0.file.filename":"/srv/base"}',
        '{"driver":"x","file.driver":"blkdebug","file.x-image":"file:/srv/base"}',
        "{'file.filename':'/srv/base'}",
        '{"a":1,"a":2,"file.filename":"/srv/base"}',
        '{"a":1,"a.b":2,"file.filename":"/srv/base"}',
        '{"file.filename":"/srv/b\\u0061se"}',
        "{'file.filename':'/srv/b\\u0061se'}",
        '{"file.filename":"/srv/base"',
    ],
)
def test_path_within_options_is_found_however_they_are_written(options: str) -> None:
    assert "/srv/base" in possible_files(f"json:{options}").paths


def test_driver_that_serves_no_files_is_passed_over_with_its_options_alone() -> None:
    found = possible_files('json:{"children":[{"driver":"nbd","export":"/srv/base"},{"filename":"/srv/other"}]}')

    assert found.paths == {"/srv/other"}


def test_options_nested_as_deep_as_a_record_allows_are_read() -> None:
    assert not possible_files("json:" + "[" * 1018).paths
    assert possible_files("json:{" + "a." * 400).any_file is False
    assert "/b" in possible_files('json:{"' + "a." * 400 + 'b":"/b"}').paths


def test_record_that_repeats_itself_at_each_level_is_read_once_a_level() -> None:
    hostile = "/base"
    for _ in range(6):
        quoted = json.dumps(hostile).replace(":", "\\u003a")
        hostile = f"file:{'json:' * 15}{quoted}"

    assert "/base" in within(5, "reading a record", lambda: possible_files(hostile)).paths


def test_text_with_more_colons_than_a_name_has_may_mean_anything_and_costs_nothing() -> None:
    assert possible_files(f"file{':a' * 500}") == PossibleFiles(any_file=True)
    assert "/b" in possible_files(f"file:{'a:' * 15}/b").paths


@given(st.text(max_size=40) | JSON.map(json.dumps).map("json:{}".format) | st.text("json:{}[]'\"\\u.,ab/", max_size=30))
def test_any_text_has_a_meaning(recorded: str) -> None:
    assert possible_files(recorded).names | possible_files_from_cwd(recorded).names is not None


@pytest.mark.parametrize(
    ("path", "name"), [("base", "base"), ("/a/base/.", "base"), ("base//", "base"), ("/", ""), ("..", "..")]
)
def test_last_name_of_a_path_is_the_one_that_says_which_file(path: str, name: str) -> None:
    assert last_name(path) == name
