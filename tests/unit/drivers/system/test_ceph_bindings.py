"""Loading the modules rados and rbd, and the errors where they are missing or broken."""

import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.drivers.system import ceph_bindings


@pytest.fixture(autouse=True)
def without_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide both modules from Python's own search."""
    find = importlib.util.find_spec
    for name in ("rados", "rbd"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("rados", "rbd") else find(name))


def test_error_for_missing_bindings_names_the_packages_to_install(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="python3-rbd"):
        ceph_bindings.load(str(tmp_path))


def test_error_for_bindings_of_another_python_names_their_file(tmp_path: Path) -> None:
    (tmp_path / "rados.cpython-39-x86_64-linux-gnu.so").touch()

    with pytest.raises(errors.ConfigurationError, match=r"rados\.cpython-39.*can't load"):
        ceph_bindings.load(str(tmp_path))


def test_broken_bindings_are_an_error_and_leave_no_module_behind(tmp_path: Path) -> None:
    (tmp_path / f"rados{EXTENSION_SUFFIXES[0]}").write_text("no library")

    with pytest.raises(errors.ConfigurationError, match="can't be loaded"):
        ceph_bindings.load(str(tmp_path))

    assert "rados" not in sys.modules


def test_only_the_two_modules_are_loaded_from_the_folder(tmp_path: Path) -> None:
    for name in ("rados", "rbd", "json"):
        (tmp_path / f"{name}.py").write_text(f"here = {name!r}")

    bindings = ceph_bindings.load(str(tmp_path))

    assert (bindings.rados.here, bindings.rbd.here) == ("rados", "rbd")
    assert str(tmp_path) not in sys.path
    for name in ("rados", "rbd"):
        del sys.modules[name]
