"""How Sphinx builds this documentation: `make docs`.

The build reads nothing from the network: types of other projects stay without a link.
"""

import logging
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "snapmanage"
copyright = "The snapmanage authors"
version = release = installed_version("snapmanage")

extensions = [
    "myst_parser",
    "oslo_config.sphinxext",
    "oslo_policy.sphinxext",
    "sphinx.ext.autodoc",
    "command_help",
]

source_suffix = {".md": "markdown"}
# It logs its backend when a command is imported.
logging.getLogger("oslo_service").setLevel(logging.WARNING)

# Every heading is the target of a link, as it is where Git hosts show a page.
myst_heading_anchors = 4
# Docstrings and the help of options write code between single backquotes.
default_role = "literal"

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
# A reference into snapmanage must lead to a documented name; a type variable has no documentation.
nitpick_ignore_regex = [("py:.*", r"(?!snapmanage\.).*"), ("py:class", r"snapmanage\..*\.[A-Z]")]

html_theme = "furo"
html_title = "snapmanage"
html_copy_source = False
html_show_sphinx = False
