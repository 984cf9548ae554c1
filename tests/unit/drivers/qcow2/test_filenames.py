"""The files that a recorded name may mean: every file that QEMU would open is found, and any text can be read."""

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
def test_path_starts_at_the_image(path: str) -> None:
    assert possible_files(path) == PossibleFiles(frozenset({path}))


@pytest.mark.parametrize("recorded", ["", "nbd:host:1", "https://host/base", "null-co://", 'json:{"driver":"null-co"}'])
def test_name_on_a_server_without_files_means_no_file(recorded: str) -> None:
    assert possible_files(recorded) == PossibleFiles()


@pytest.mark.parametrize("recorded", ["/dev/fdset/1", "/proc/7/fd/8", "file:/dev/fd/3", 'json:{"file":"node"}'])
def test_name_that_only_a_running_qemu_can_resolve_may_mean_any_file(recorded: str) -> None:
    assert possible_files(recorded).any_file


def test_relative_path_after_a_protocol_starts_at_qemus_working_directory() -> None:
    assert possible_files("file:sub/base") == PossibleFiles(frozenset({"sub/base"}), frozenset({"base"}))
    assert possible_files("file:/srv/base") == PossibleFiles(frozenset({"/srv/base"}))
    assert possible_files_from_cwd("sub/base") == possible_files("file:sub/base")


def test_each_path_after_a_filter_driver_counts() -> None:
    assert {"/a", "/b:/c", "/b", "/c"} <= possible_files("blkverify:/a:/b:/c").paths


@pytest.mark.parametrize("recorded", ["nfs://h/x/b%61se?uid=0", "ssh://h/base", "gluster+tcp://h/vol/base#x"])
def test_file_on_another_host_is_identified_by_its_last_name(recorded: str) -> None:
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
def test_path_in_options_is_found_in_every_notation(options: str) -> None:
    assert "/srv/base" in possible_files(f"json:{options}").paths


def test_driver_without_files_is_skipped_but_other_options_are_read() -> None:
    found = possible_files('json:{"children":[{"driver":"nbd","export":"/srv/base"},{"filename":"/srv/other"}]}')

    assert found.paths == {"/srv/other"}


def test_options_are_read_at_any_depth_that_fits_into_a_name() -> None:
    assert not possible_files("json:" + "[" * 1018).paths
    assert possible_files("json:{" + "a." * 400).any_file is False
    assert "/b" in possible_files('json:{"' + "a." * 400 + 'b":"/b"}').paths


def test_name_with_options_at_too_many_levels_may_mean_any_file_and_is_not_read_further() -> None:
    hostile = "/base"
    for _ in range(6):
        quoted = json.dumps(hostile).replace(":", "\\u003a")
        hostile = f"file:{'json:' * 15}{quoted}"

    assert within(5, "reading a name", lambda: possible_files(hostile)) == PossibleFiles(any_file=True)
    assert "/base" in possible_files("json:" * 4 + "'/base'").paths


def test_quotes_that_are_not_closed_take_linear_time() -> None:
    hostile = "json:'/base'" + "\\'" * 200_000

    assert within(5, "reading a name", lambda: possible_files(hostile)).paths == {"/base"}


def test_name_with_too_many_colons_may_mean_any_file_and_is_not_read_further() -> None:
    assert possible_files(f"file{':a' * 500}") == PossibleFiles(any_file=True)
    assert "/b" in possible_files(f"file:{'a:' * 15}/b").paths


@given(st.text(max_size=40) | JSON.map(json.dumps).map("json:{}".format) | st.text("json:{}[]'\"\\u.,ab/", max_size=30))
def test_any_text_can_be_read(recorded: str) -> None:
    assert possible_files(recorded).names | possible_files_from_cwd(recorded).names is not None


@pytest.mark.parametrize(
    ("path", "name"), [("base", "base"), ("/a/base/.", "base"), ("base//", "base"), ("/", ""), ("..", "..")]
)
def test_last_name_of_a_path_ignores_dots_and_slashes_at_its_end(path: str, name: str) -> None:
    assert last_name(path) == name
