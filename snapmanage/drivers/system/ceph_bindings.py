"""The Python bindings of librados and librbd: extension modules that are in no package index.

A distribution's packages install them in a folder with hundreds of other modules, which must not be on the path of a
virtual environment. Only these two modules are loaded from it.
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
    """Load the modules that Python finds itself, otherwise those in `folder`.

    Raise `ConfigurationError` where both places lack them, or where they can't be loaded.
    """
    # `rbd` is linked to `rados` and imports it, so `rados` is first.
    return Bindings(_load("rados", folder), _load("rbd", folder))


def _load(name: str, folder: str) -> ModuleType:
    try:
        if name in sys.modules or importlib.util.find_spec(name):
            return importlib.import_module(name)
        return _load_from(name, folder)
    except ImportError as failure:
        raise errors.ConfigurationError(f"the module {name} can't be loaded ({failure}): {_REMEDY}") from failure


def _load_from(name: str, folder: str) -> ModuleType:
    spec = PathFinder.find_spec(name, [folder])
    if spec is None or spec.loader is None:
        others = sorted(path.name for path in Path(folder).glob(f"{name}.*.so"))
        if others:
            found, this_python = ", ".join(others), sys.implementation.cache_tag
            raise errors.ConfigurationError(
                f"rbd_bindings {folder!r} has {found}, which this Python ({this_python}) can't load: {_REMEDY}"
            )
        raise errors.ConfigurationError(
            f"the module {name} is missing, from Python's path and from rbd_bindings {folder!r}: {_REMEDY}"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
