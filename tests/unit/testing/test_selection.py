"""The class that `--snapmanage-lab` names is loaded, or the error names the problem and the remedy."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from snapmanage_driver_array.lab import ArrayLab

from snapmanage.testing.lab import has
from snapmanage.testing.selection import load

NOT_A_CLASS = ArrayLab.name_of


class TwoFoldersLab(ArrayLab):
    __init__: Callable[..., None] = lambda self, first, second: None


class LabWithoutFlags:
    name_of = add_volume = add_snapshot = remove = names = go_away = come_back = len


def test_laboratory_is_loaded_by_module_and_class() -> None:
    assert load("snapmanage_driver_array.lab:ArrayLab") is ArrayLab


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("snapmanage_driver_array.lab", "expected MODULE:CLASS, such as my_package.lab:MyLab"),
        (":ArrayLab", "expected MODULE:CLASS"),
        ("no_such_package.lab:MyLab", "No module named 'no_such_package'; install its package"),
        (f"{__name__}:Missing", "has no class Missing; define it or correct its name"),
        (f"{__name__}:NOT_A_CLASS", "has no class NOT_A_CLASS"),
        (f"{__name__}:TwoFoldersLab", "the constructor must take no argument, or one"),
        (f"{__name__}:LabWithoutFlags", "the class lacks reports_storage_id, reports_creation_time; add the members"),
    ],
)
def test_error_names_the_problem_and_the_remedy(name: str, problem: str) -> None:
    with pytest.raises(pytest.UsageError) as caught:
        load(name)

    assert f"--snapmanage-lab={name}: " in str(caught.value)
    assert problem in str(caught.value)


def test_capability_is_an_attribute_of_the_class() -> None:
    capabilities = ("held", "add_many", "reports_creation_time", "reports_storage_id", "add_unusable")

    assert [has(ArrayLab, each) for each in capabilities] == [True, True, True, False, False]


def test_plugin_without_its_option_imports_nothing_else_of_snapmanage() -> None:
    program = "import sys, snapmanage.testing.plugin; print(*sorted(m for m in sys.modules if 'snapmanage.' in m))"

    modules = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert modules == ["snapmanage.testing", "snapmanage.testing.plugin"]
