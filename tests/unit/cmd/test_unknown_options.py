"""A misspelled option is found, with the name that was meant; options of libraries are not reported."""

from collections.abc import Callable
from pathlib import Path

import pytest
from oslo_config import cfg
from oslo_log import log

from snapmanage import conf as options
from snapmanage.cmd.wiring import configuration, unknown_options

Load = Callable[[str], cfg.ConfigOpts]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(text: str) -> cfg.ConfigOpts:
        file = tmp_path / "snapmanage.conf"
        file.write_text(text)
        conf = cfg.ConfigOpts()
        options.register(conf)
        configuration.register_messaging(conf)
        log.register_options(conf)
        conf([], default_config_files=[str(file)])
        return conf

    return loaded


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[operations]\nheartbeat_second = 5", "[operations] heartbeat_second is not an option, so it has no effect; "),
        ("[api]\nzebra = 1", "[api] zebra is not an option, so it has no effect; remove it, or correct its name"),
        ("[DEFAULT]\nenabled_backend = a", "did you mean enabled_backends?"),
        ("[pool]\ndriver = file\ndirectory = /a\nclaim_batsh = 1", "[pool] claim_batsh is not an option"),
        ("[pool]\ndriver = file\ndirektory = /a", "did you mean directory?"),
    ],
)
def test_misspelled_option_is_found(load: Load, text: str, found: str) -> None:
    backend = "" if text.startswith("[DEFAULT]") else "[DEFAULT]\nenabled_backends = pool\n"
    pool = "" if "[pool]" in text or not backend else "\n[pool]\ndriver = file\ndirectory = /a\n"

    [unknown] = unknown_options.find(load(f"{backend}{text}{pool}"), with_backends=bool(backend))

    assert found in str(unknown)


@pytest.mark.parametrize(
    "text",
    [
        "[DEFAULT]\ndebug = true\ntransport_url = rabbit://h\nzebra = 1\nlog_dir = /a",
        "[upstream]\nauth_url = http://h\nuser_domain_id = a",
        "[keystone_authtoken]\nzebra = 1",
        "[elsewhere]\ndriver = file\nzebra = 1",
        "[operations]\nheartbeat-seconds = 5",
        "[DEFAULT]\nenabled_backends = pool\n[pool]\ndriver = missing\nzebra = 1",
        "[DEFAULT]\nenabled_backends = pool\n[pool]\ndriver = cinder\nvendor_option = 1",
    ],
)
def test_option_of_a_library_or_another_section_is_not_reported(load: Load, text: str) -> None:
    assert unknown_options.find(load(text), with_backends=True) == []
