"""The file of origins, and names of snapshots that are compared with it."""

from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.cmd.wiring import origins
from snapmanage.core.origins import definitions
from snapmanage.core.origins.patterns import Origins
from snapmanage.core.origins.table import BUILT_IN, KNOWN
from tests.fuzz.hostile import ANY_TEXT, bounded, damaged, fuzz, reshaped

ENTRY = {"tool": "t", "names": ["n-{year}{month}{day}*{class}"], "rename": "warn", "why": "w", "drivers": ["zfs"]}
SAMPLES = ({"origins": [ENTRY], "disable": ["sanoid"]}, {"origins": [ENTRY | {"parents": "p*", "orphans": True}]})
TEXT = b"origins:\n- {tool: t, names: 'n-*{class}', rename: warn, why: w, classes: [a, b]}\ndisable: [sanoid]\n"
TOKENS = st.sampled_from([*"*?{}ab-/@", "{class}", "{number}", "{uuid}", "{year}"])
FORMS = st.lists(TOKENS, max_size=30).map("".join)
NAMES = st.text(st.sampled_from("ab-/@0123456789"), max_size=300) | ANY_TEXT


@fuzz(reshaped(*SAMPLES))
def test_content_is_refused_or_makes_a_table(content: object) -> None:
    with bounded(content, errors.InvalidRequest):
        Origins(definitions.read(content, BUILT_IN)).recognise("v@n-20260131a", "v", "zfs")


@fuzz(damaged(TEXT))
def test_damaged_text_is_refused_or_makes_a_table(raw: bytes) -> None:
    with bounded(raw, errors.InvalidRequest):
        definitions.read(origins.parse(raw), BUILT_IN)


@fuzz(FORMS, NAMES)
def test_any_name_can_be_compared_with_any_form(form: str, name: str) -> None:
    with bounded((form, name), errors.InvalidRequest):
        table = Origins(definitions.read({"origins": [ENTRY | {"names": form, "drivers": []}]}, ()))
        table.recognise(name * 10, name, "zfs")


@fuzz(NAMES, st.sampled_from(["zfs", "rbd", "lvm", "btrfs", "qcow2", "file", "cinder", "x"]))
def test_any_name_can_be_compared_with_the_built_in_table(name: str, driver: str) -> None:
    with bounded(name):
        KNOWN.recognise(name, name, driver, {"userrefs": name})
