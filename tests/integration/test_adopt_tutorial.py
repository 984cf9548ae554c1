"""The tutorial about adopting shows the output of its commands in a terminal."""

from pathlib import Path

from tests.integration.recorded_page import PAGE, blocks, remade


def test_commands_print_the_outputs_on_the_page(tmp_path: Path) -> None:
    page = PAGE.read_text()

    made = remade(page, tmp_path)

    assert blocks(made) == blocks(page), "make pages writes the page again"
    assert {file.name for file in (tmp_path / "adopt" / "data" / "backend").glob("disk1.img@*")} >= {
        "disk1.img@before-upgrade",
        "disk1.img@autosnap_2026-11-24_00:00:01_daily",
    }
