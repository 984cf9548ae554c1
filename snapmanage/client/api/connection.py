"""Connect to the cloud that clouds.yaml or `OS_*` name, and otherwise to the standalone service on this machine."""

import os
import re
from typing import Any

import openstack
from keystoneauth1.exceptions import ClientException, DiscoveryFailure
from openstack.config import OpenStackConfig
from openstack.exceptions import ConfigException, SDKException

from snapmanage import errors
from snapmanage.core.values.text import readable

STANDALONE = "http://127.0.0.1:8776/v3/0123456789abcdef0123456789abcdef"
APP_NAME = "snapmanage"


def connect(cloud: str | None, region: str | None) -> Any:
    """Return openstacksdk's connection; raise `ConfigurationError` if the configuration names no usable cloud."""
    try:
        if cloud or region or is_configured():
            return openstack.connect(cloud=cloud, region_name=region, app_name=APP_NAME)
        return to_endpoint(STANDALONE)
    except (ConfigException, ClientException) as error:
        raise errors.ConfigurationError(
            f"no connection to a cloud: {readable(str(error))}; name a cloud of clouds.yaml with --os-cloud"
        ) from error


def block_storage(connection: Any) -> Any:
    """Return the adapter of the Block Storage API; raise `Unavailable` if the cloud has none that answers."""
    try:
        found = connection.block_storage
        _ = found.request  # openstacksdk raises the error of a service that is not in the catalogue at the first use
        return found
    except (SDKException, ClientException) as error:
        raise errors.Unavailable(
            f"no Block Storage API answers{_detail(error)}; check the cloud that OS_* or --os-cloud names, or start "
            "snapmanage standalone"
        ) from error


def _detail(error: Exception) -> str:
    """Return the address or the reason; keystoneauth's text about an address without an answer has no reason in it."""
    address = re.search(r"https?://[^\s,]+", str(error)) if isinstance(error, DiscoveryFailure) else None
    return f" at {readable(address[0])}" if address else f": {readable(str(error)).rstrip('.')}"


def is_configured() -> bool:
    """Return whether clouds.yaml exists, or the environment has a variable of OpenStack."""
    return any(name.startswith("OS_") for name in os.environ) or OpenStackConfig().config_filename is not None


def to_endpoint(endpoint: str) -> Any:
    """Return a connection without authentication to an endpoint that ends with the project."""
    return openstack.connect(
        auth_type="none",
        auth={"endpoint": endpoint},
        app_name=APP_NAME,
        load_yaml_config=False,
        load_envvars=False,
    )
