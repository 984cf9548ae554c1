"""Each option has a help text, and the samples of configuration and policy are current."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from oslo_config import cfg, generator, types
from oslo_policy import generator as policy_generator

from snapmanage import conf
from snapmanage.cmd.wiring import configuration

REPOSITORY = Path(__file__).parents[3]
CONFIGURATION = REPOSITORY / "etc" / "snapmanage"
OPTIONS = [pytest.param(option, id=f"{group}.{option.name}") for group, all_of in conf.list_opts() for option in all_of]
NUMBERS = [each for each in OPTIONS if isinstance(each.values[0], cfg.IntOpt | cfg.FloatOpt)]


@pytest.mark.parametrize("option", OPTIONS)
def test_option_has_a_help_text_of_whole_sentences(option: cfg.Opt) -> None:
    assert re.fullmatch(r"[A-Z].*\.", option.help or "", re.DOTALL)


@pytest.mark.parametrize("option", NUMBERS)
def test_help_of_a_number_describes_a_higher_and_a_lower_value(option: cfg.Opt) -> None:
    assert re.search(r"\b(higher|more|raise)\b", option.help or "", re.IGNORECASE)
    assert re.search(r"\b(lower|fewer|0)\b", option.help or "", re.IGNORECASE)


@pytest.mark.parametrize("option", NUMBERS)
def test_number_has_a_minimum_and_a_valid_default(option: cfg.Opt) -> None:
    assert isinstance(option.type, types.Number)
    assert option.type.min is not None
    assert option.default is None or option.type(option.default) == option.default


def test_page_has_at_most_ten_thousand_entries() -> None:
    (limit,) = (option for option in conf.GROUPS["api"] if option.name == "osapi_max_limit")

    assert limit.type("10000") == 10_000
    with pytest.raises(ValueError, match="Should be less than or equal to 10000"):
        limit.type("10001")


def test_database_url_is_secret_so_that_logs_do_not_show_it() -> None:
    (connection,) = (option for option in conf.DATABASE if option.name == "connection")

    assert connection.secret


def test_register_registers_every_option() -> None:
    loaded = cfg.ConfigOpts()

    conf.register(loaded)

    loaded([], default_config_files=[])
    assert loaded.volume_topic == "snapmanage-volume"
    assert {group: set(loaded[group]) for group in conf.GROUPS if group != "DEFAULT"} == {
        group: {option.dest for option in options} for group, options in conf.GROUPS.items() if group != "DEFAULT"
    }


def test_time_to_live_of_idempotency_keys_is_in_seconds() -> None:
    loaded = cfg.ConfigOpts()
    conf.register(loaded)
    assert configuration.rules(loaded).idempotency_key_ttl == timedelta(days=1)

    loaded.set_override("idempotency_key_ttl_seconds", 5, "api")

    assert configuration.rules(loaded).idempotency_key_ttl == timedelta(seconds=5)


def test_section_of_a_backend_has_the_options_of_its_driver_too(tmp_path: Path) -> None:
    file = tmp_path / "snapmanage.conf"
    file.write_text("[fast]\ndriver = fake\nspeed = 7\n")
    loaded = cfg.ConfigOpts()
    loaded([], default_config_files=[str(file)])

    fast = conf.register_backend(loaded, "fast", [cfg.IntOpt("speed")])

    assert (fast.driver, fast.speed, fast.driver_calls) == ("fake", 7, 8)


def test_sample_is_current(tmp_path: Path) -> None:
    made = tmp_path / "made.conf"

    generator.main(["--config-file", str(CONFIGURATION / "config-generator.conf"), "--output-file", str(made)])

    assert own_sections(made) == own_sections(CONFIGURATION / "snapmanage.conf.sample"), "run `make config`"


def test_sample_has_the_options_of_libraries() -> None:
    known = sections(CONFIGURATION / "snapmanage.conf.sample")

    assert "#www_authenticate_uri = <None>\n" in known["keystone_authtoken"]
    assert "#http_connect_timeout = 10\n" in known["keystone_authtoken"]
    assert "#http_basic_auth_user_file = /etc/htpasswd\n" in known["oslo_middleware"]
    assert "#enable_proxy_headers_parsing = false\n" in known["oslo_middleware"]
    assert "#policy_file = policy.yaml\n" in known["oslo_policy"]
    assert "#allow_methods = GET,POST\n" in known["cors"]


def test_sample_of_the_policy_is_current(tmp_path: Path) -> None:
    made = tmp_path / "made.yaml"
    settings = ["--config-file", str(CONFIGURATION / "policy-generator.conf"), "--output-file", str(made)]

    policy_generator.generate_sample(settings, cfg.ConfigOpts())

    assert made.read_text() == (CONFIGURATION / "policy.yaml.sample").read_text(), "run `make config`"


def test_sample_does_not_contain_the_name_of_this_host() -> None:
    assert "#host = storage-1\n" in (CONFIGURATION / "snapmanage.conf.sample").read_text()


def test_sample_is_a_valid_configuration() -> None:
    loaded = cfg.ConfigOpts()
    conf.register(loaded)

    loaded([], default_config_files=[str(CONFIGURATION / "snapmanage.conf.sample")])

    assert loaded.enabled_backends == []


def sections(sample: Path) -> dict[str, str]:
    """Return the text of each section of a sample."""
    parts = re.split(r"^\[([\w-]+)\]$", sample.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def own_sections(sample: Path) -> dict[str, str]:
    """Return snapmanage's own sections; those of libraries differ from release to release."""
    known = {group for group, _ in conf.list_opts()}
    return {section: text for section, text in sections(sample).items() if section in known}
