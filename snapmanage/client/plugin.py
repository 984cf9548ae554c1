"""The plugin of python-openstackclient: the client commands as `openstack snapshot adopt …`.

`openstack` has the connection, so the plugin adds no client of its own. setup.cfg lists the commands.
"""

import argparse
from typing import Any

API_NAME = "snapmanage"
API_VERSION_OPTION = "os_snapmanage_api_version"
API_VERSIONS = ("1",)
DEFAULT_API_VERSION = "1"


def make_client(instance: Any) -> Any:
    """Return the Block Storage client of the connection."""
    return instance.sdk_connection.block_storage


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add no option: the options of `openstack` choose the cloud, and each command has its own."""
    return parser
