"""Forms of names: fields, wildcards, and names that are meant to make a comparison slow."""

import time
from datetime import UTC, datetime
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core.origins.forms import FIELDS, MOST_WILDCARDS, AnyForm, Form, Name

PLAIN = st.text("ab*?", min_size=1, max_size=8).filter(lambda text: text.count("*") <= MOST_WILDCARDS)


@given(PLAIN, st.text("ab", max_size=12))
def test_form_without_fields_is_a_glob(form: str, name: str) -> None:
    assert (Form(form).read(Name.of(name)) is not None) == fnmatchcase(name, form)


@pytest.mark.parametrize(
    ("form", "name", "own"),
    [
        ("daily", "disk@daily", True),
        ("daily", "a/b/daily", True),
        ("daily", "daily@monday", False),
        ("disk@daily", "disk@daily", True),
        ("*@daily", "a/disk@daily", True),
        ("disk@*", "a/disk@daily", False),
    ],
)
def test_form_with_a_separator_is_compared_with_the_whole_name(form: str, name: str, own: bool) -> None:
    assert (Form(form).read(Name.of(name)) is not None) is own


@pytest.mark.parametrize(
    ("form", "classes", "name", "class_name"),
    [
        ("{class}", (), "daily", "daily"),
        ("x-{class}-y", (), "x-a-b-y", "a-b"),
        ("{class}-{year}", (), "x-1999-2000", "x-1999"),
        ("{class}", ("day", "daily"), "daily", "daily"),
        ("{class}*", ("day", "daily"), "daily-1", "daily"),
        ("{class}", ("day",), "daily", None),
        ("{class}", ("a.b",), "axb", None),
        ("{class}", (), "", None),
        ("{class}", (), "x" * 65, None),
    ],
)
def test_class_is_read(form: str, classes: tuple[str, ...], name: str, class_name: str | None) -> None:
    read = Form(form, classes).read(Name.of(name))

    assert (read and read.class_name) == class_name


@pytest.mark.parametrize(
    ("form", "name", "moment"),
    [
        ("{year}{month}{day}", "20260131", datetime(2026, 1, 31, tzinfo=UTC)),
        ("{day}.{month}.{year} {hour}h", "31.01.2026 07h", datetime(2026, 1, 31, 7, tzinfo=UTC)),
        ("{year}{month}{day}T{hour}{offset}", "20260131T07+0530", datetime(2026, 1, 31, 1, 30, tzinfo=UTC)),
        ("{year}{month}{day}T{hour}{offset}", "20260131T07-05:30", datetime(2026, 1, 31, 12, 30, tzinfo=UTC)),
        ("{year}{month}{day}T{hour}{offset}", "20260131T07Z", datetime(2026, 1, 31, 7, tzinfo=UTC)),
        ("{year}{month}{day}", "00010101", datetime(1, 1, 1, tzinfo=UTC)),
        ("{year}-{month}", "2026-01", None),
    ],
)
def test_time_is_read(form: str, name: str, moment: datetime | None) -> None:
    read = Form(form).read(Name.of(name), UTC)

    assert read is not None
    assert read.created_at == moment


@pytest.mark.parametrize("name", ["20260230", "20261301", "00000101", "2026013", "２０２６０１３１"])  # noqa: RUF001
def test_date_that_no_calendar_has_is_no_name_of_the_form(name: str) -> None:
    assert Form("{year}{month}{day}").read(Name.of(name), UTC) is None


def test_offset_that_no_zone_has_is_no_name_of_the_form() -> None:
    assert Form("{year}{month}{day}{offset}").read(Name.of("20260131+9900")) is None


def test_time_beyond_the_calendar_is_left_out() -> None:
    read = Form("{year}{month}{day}{offset}").read(Name.of("00010101+0500"))

    assert read is not None
    assert read.created_at is None


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("", "1 to 255 characters"),
        ("x" * 256, "1 to 255 characters"),
        ("{years}", "{years} is no field; the fields are {year}"),
        ("{}", "is no field"),
        ("{year", "a brace without its other half"),
        ("year}", "a brace without its other half"),
        ("{year}{year}", "has the field {year} more than once"),
        ("{class}-{class}", "has the field {class} more than once"),
        ("{day}", "{day} without {year} and {month}"),
        ("*" * 9, "has 9 *; the limit is 8"),
    ],
)
def test_wrong_form_is_refused_with_its_reason(form: str, text: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        Form(form)

    assert text in str(refusal.value)


@pytest.mark.parametrize("separator", ["", "@", "/"])
@pytest.mark.parametrize(
    "form",
    [
        "*a*a*a*a*a*a*a*b",
        "{number}{number}{number}{number}{number}x",
        "{class}*{number}*{uuid}*{number}x",
        "*{year}{month}{day}*{hour}{minute}{second}*{offset}x",
    ],
)
@pytest.mark.parametrize("letter", ["a", "1", "0f2b7c1e-5a0d-4c57-9b1f-6f2f0a4c9d1"])
def test_hostile_name_takes_no_long_time(form: str, letter: str, separator: str) -> None:
    name = (letter * 4096)[:4096]
    whole = Form(f"{form}{separator}")

    begun = time.process_time()
    whole.read(Name.of(name))

    assert time.process_time() - begun < 0.5


@given(st.lists(st.sampled_from(["*", "?", "a", "-", *(f"{{{field}}}" for field in FIELDS)]), min_size=1, max_size=7))
def test_quick_test_matches_each_name_that_a_form_matches(tokens: list[str]) -> None:
    try:
        form = Form("".join(tokens))
    except errors.InvalidRequest:
        return
    for name in ("a", "-", "2026", "20260131", "a-2026", "01", "0f2b7c1e-5a0d-4c57-9b1f-6f2f0a4c9d11"):
        if form.read(Name.of(name)):
            assert AnyForm([Form("b"), form]).matches(Name.of(name))
        assert AnyForm([form]).may_match(name) == AnyForm([form]).matches(Name.of(name))


def test_quick_test_of_no_forms_matches_nothing() -> None:
    assert not AnyForm([]).matches(Name.of(""))


def test_kept_result_of_one_number_is_used_for_others_only_where_the_form_does_not_spell_digits() -> None:
    quick = AnyForm([Form("auto-{number}"), Form("weekly-7"), Form("{class}-{year}", classes=["15min"])])
    names = ["auto-1", "auto-23", "auto-x", "weekly-7", "weekly-8", "15min-2026", "25min-2026", "disk@auto-9"]

    assert [name for name in names if quick.may_match(name)] == [name for name in names if quick.matches(Name.of(name))]
    assert [quick.may_match(name) for name in names] == [True, True, False, True, False, True, False, True]
