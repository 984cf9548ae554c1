"""The documentation as a site: Sphinx builds it without a warning, and its references are complete."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does, in a folder of its own without a cache, and return the folder."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--fail-on-warning", "--keep-going", "--nitpicky", "--fresh-env", "--quiet"]
    command = [sys.executable, "-m", "sphinx", *options, "-b", "html", str(DOCS), str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    # The directives of oslo.config and oslo.policy report broken help texts as warnings that don't fail the build.
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder


@pytest.mark.parametrize(
    "page", ["index.html", "tutorial/one-machine.html", "how-to/deploy.html", "reference/api.html"]
)
def test_documentation_has_every_kind_of_page(site: Path, page: str) -> None:
    assert (site / page).is_file()


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("options.html", "inventory_ttl_seconds"),
        ("policies.html", "snapshot_extension:snapshot_manage"),
        ("commands.html", r"snapmanage-manage quota set --help"),
        ("driver-protocol.html", "find_snapshot"),
        ("errors.html", "source_not_found"),
    ],
)
def test_reference_is_made_from_the_code(site: Path, page: str, shown: str) -> None:
    assert re.search(shown, re.sub("<[^>]+>", "", (site / "reference" / page).read_text()))


def test_page_of_the_options_reads_the_namespaces_of_the_sample() -> None:
    generated = re.findall(
        r"^namespace = (\S+)$", (REPOSITORY / "etc/snapmanage/config-generator.conf").read_text(), re.M
    )

    [directive] = re.findall(r"show-options::\n((?:\n|   .*\n)+)", (DOCS / "reference" / "options.md").read_text())
    assert directive.split() == generated


def test_page_of_the_commands_names_each_command() -> None:
    text = (DOCS / "reference" / "commands.md").read_text()

    commands = [each.name for each in entry_points(group="console_scripts") if each.value.startswith("snapmanage.")]
    assert [name for name in commands if f"## {name}\n" not in text] == []
