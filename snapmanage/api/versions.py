"""Microversions and version discovery."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import microversion_parse

from snapmanage import errors
from snapmanage.core.values.text import cut

SERVICE = "volume"
# The service type under which a client requires snapmanage's own fields.
OWN_SERVICE = "snapmanage"
HEADER = "OpenStack-API-Version"


@dataclass(frozen=True, order=True)
class Version:
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


MINIMUM = Version(3, 0)
MAXIMUM = Version(3, 71)
OWN = Version(1, 0)
MESSAGES = Version(3, 3)
MESSAGE_FILTERS = Version(3, 5)
SERVICE_CLUSTER = Version(3, 7)
MANAGEABLE_PATH = Version(3, 8)
VOLUME_SUMMARY = Version(3, 12)
VOLUME_GROUP_ID = Version(3, 13)
GROUP_SNAPSHOT_ID = Version(3, 14)
CLUSTERS = Version(3, 17)
VOLUME_PROVIDER_ID = Version(3, 21)
POOL_FILTERS = Version(3, 28)
INEXACT_FILTERS = Version(3, 31)
SUMMARY_METADATA = Version(3, 36)
LIMITS_OF_A_PROJECT = Version(3, 39)
SNAPSHOT_USER_ID = Version(3, 41)
WITH_COUNT = Version(3, 45)
VOLUME_SERVICE_UUID = Version(3, 48)
BACKEND_STATE = Version(3, 49)
VOLUME_EDIT_NOT_EMPTY = Version(3, 53)
TIME_FILTERS = Version(3, 60)
VOLUME_CLUSTER_NAME = Version(3, 61)
VOLUME_TYPE_ID = Version(3, 63)
VOLUME_ENCRYPTION_KEY_ID = Version(3, 64)
CONSUMES_QUOTA = Version(3, 65)


def negotiate(headers: Mapping[str, str]) -> Version:
    """Return the microversion of a request.

    Raise `InvalidRequest` for a malformed version, and `NotAcceptable` for one outside the supported range.
    """
    return _requested(headers, SERVICE, MINIMUM, MAXIMUM) or MINIMUM


def negotiate_own(headers: Mapping[str, str]) -> Version | None:
    """Return the version of snapmanage's own fields, None if the request does not name one; raise as `negotiate`."""
    return _requested(headers, OWN_SERVICE, OWN, OWN)


def header(version: Version, own: Version | None = None) -> str:
    """Return the header of an answer."""
    return f"{SERVICE} {version}" + (f", {OWN_SERVICE} {own}" if own else "")


def _requested(headers: Mapping[str, str], service: str, minimum: Version, maximum: Version) -> Version | None:
    text = microversion_parse.get_version(dict(headers), service_type=service)
    if text is None:
        return None
    if text == "latest":
        return maximum
    of = "" if service == SERVICE else f" of {service}"
    try:
        major, minor = microversion_parse.parse_version_string(text)
    except (TypeError, ValueError) as error:
        raise errors.InvalidRequest(
            f"API version {cut(text)!r}{of} must be of the form MAJOR.MINOR, such as 3.8"
        ) from error
    version = Version(major, minor)
    if not minimum <= version <= maximum:
        raise errors.NotAcceptable(
            f"Version {cut(text)}{of} is not supported by the API. Minimum is {minimum}, maximum is {maximum}."
        )
    return version


def document(prefix: str) -> dict[str, Any]:
    """Return the version document of version discovery."""
    return {
        "versions": [
            {
                "id": "v3.0",
                "status": "CURRENT",
                "version": str(MAXIMUM),
                "min_version": str(MINIMUM),
                "updated": "2026-11-23T00:00:00Z",
                "links": [{"rel": "self", "href": f"{prefix}/v3/"}],
                "media-types": [
                    {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}
                ],
            }
        ]
    }
