"""Where librados and librbd are for Python: extension modules that no package index has.

The distribution's packages put them beside hundreds of other modules, so that its folder must not be on
the path of a virtual environment. Here just these two files are loaded from it.
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
    """The bindings that Python finds by itself, or else those in `folder`; `ConfigurationError` without either."""
    # In this order: the second is linked to the first and imports it.
    return Bindings(_loaded("rados", folder), _loaded("rbd", folder))


def _loaded(name: str, folder: str) -> ModuleType:
    try:
        if name in sys.modules or importlib.util.find_spec(name):
            return importlib.import_module(name)
        return _loaded_from(name, folder)
    except ImportError as failure:
        raise errors.ConfigurationError(f"the module {name} can't be loaded ({failure}): {_REMEDY}") from failure


def _loaded_from(name: str, folder: str) -> ModuleType:
    spec = PathFinder.find_spec(name, [folder])
    if spec is None or spec.loader is None:
        others = sorted(path.name for path in Path(folder).glob(f"{name}.*.so"))
        if others:
            found, ours = ", ".join(others), sys.implementation.cache_tag
            raise errors.ConfigurationError(
                f"rbd_bindings {folder!r} has {found}, which this Python ({ours}) can't load: {_REMEDY}"
            )
        raise errors.ConfigurationError(f"there is no module {name}, in rbd_bindings {folder!r} neither: {_REMEDY}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
