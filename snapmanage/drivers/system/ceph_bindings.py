"""Find librados and librbd for Python: extension modules that no package index has.

The distribution's packages put them beside hundreds of other modules, so that folder must not be on the path of a
virtual environment. This module loads just the two files from it.
"""

import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from snapmanage import errors

FOLDER = "/usr/lib/python3/dist-packages"

_REMEDY = "install Debian's python3-rbd and python3-rados, and run snapmanage on the Python that they are built for"


class Bindings(NamedTuple):
    """The modules `rados` and `rbd`."""

    rados: ModuleType
    rbd: ModuleType


def load(folder: str = FOLDER) -> Bindings:
    """Return the bindings on Python's own path, else those in `folder`; raise `ConfigurationError` without either."""
    # In this order: rbd is linked to rados and imports it.
    return Bindings(_load("rados", folder), _load("rbd", folder))


def _load(name: str, folder: str) -> ModuleType:
    try:
        if name in sys.modules or importlib.util.find_spec(name):
            return importlib.import_module(name)
        return _load_from_folder(name, folder)
    except ImportError as failure:
        raise errors.ConfigurationError(f"the module {name} can't be loaded ({failure}): {_REMEDY}") from failure


def _load_from_folder(name: str, folder: str) -> ModuleType:
    spec = PathFinder.find_spec(name, [folder])
    if spec is None or spec.loader is None:
        raise errors.ConfigurationError(_missing(name, folder))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _missing(name: str, folder: str) -> str:
    others = sorted(path.name for path in Path(folder).glob(f"{name}.*.so"))
    if others:
        found, ours = ", ".join(others), sys.implementation.cache_tag
        return f"rbd_bindings {folder!r} has {found}, which this Python ({ours}) can't load: {_REMEDY}"
    return f"the module {name} is neither on Python's path nor in rbd_bindings {folder!r}: {_REMEDY}"
