"""What stands before the API's handlers, as the configuration has it: who authenticates, the policy, CORS, proxies.

A strategy and a middleware are imported, and their options registered, only where they are asked for.
"""

import os
from pathlib import Path
from typing import Any

from oslo_config import cfg

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.api.access import callers
from snapmanage.api.access.callers import Authenticate
from snapmanage.api.access.policy import Policy

CORS = "cors"
MIDDLEWARE = "oslo_middleware"
KEYSTONE = "keystone_authtoken"
POLICY_FILE = "policy.yaml"


def authentication(conf: cfg.ConfigOpts) -> Authenticate:
    """The strategy of `[api] auth_strategy`; `ConfigurationError` where what it needs is missing."""
    if conf.api.auth_strategy == "http_basic":
        return _http_basic(conf)
    if conf.api.auth_strategy == "keystone":
        return _keystone(conf)
    return callers.noauth_anywhere if conf.api.noauth_anywhere else callers.noauth


def policy(conf: cfg.ConfigOpts) -> Policy:
    """The policies; `ConfigurationError` where the file that is named isn't there, or can't be understood."""
    made = Policy(conf)
    named = conf.oslo_policy.policy_file
    if named != POLICY_FILE and conf.find_file(named) is None:
        raise errors.ConfigurationError(f"[oslo_policy] policy_file: there is no file {named}")
    made.check()
    return made


def surround(conf: cfg.ConfigOpts, application: Any) -> Any:
    """The application behind oslo.middleware's CORS and proxy headers, each where it is configured."""
    if _mentioned(conf, CORS):
        application = _with_cors(conf, application)
    if _mentioned(conf, MIDDLEWARE):
        application = _behind_proxy(conf, application)
    return application


def _http_basic(conf: cfg.ConfigOpts) -> Authenticate:
    from oslo_middleware import basic_auth

    from snapmanage.api.access.http_basic import HttpBasic

    conf.register_opts(basic_auth.OPTS, group=MIDDLEWARE)
    return HttpBasic(Path(conf.oslo_middleware.http_basic_auth_user_file))


def _keystone(conf: cfg.ConfigOpts) -> Authenticate:
    try:
        from keystoneauth1.exceptions import ClientException
        from keystonemiddleware import auth_token

        from snapmanage.api.access import keystone
    except ImportError as error:
        raise errors.ConfigurationError(
            f"[api] auth_strategy keystone needs a Python package: {error}; install snapmanage[keystone]"
        ) from error

    options.set_keystone_defaults()
    for group, known in auth_token.list_opts():
        conf.register_opts(known, group=group)
    _require_keystone_options(conf)
    # Whoever is refused is refused by the strategy, in our words.
    forced = {"oslo_config_config": conf, "delay_auth_decision": True}
    try:
        return keystone.Keystone(lambda judge: keystone.Middleware(judge, forced))
    except ClientException as error:
        raise errors.ConfigurationError(f"[{KEYSTONE}] is incomplete: {error}") from error


def _require_keystone_options(conf: cfg.ConfigOpts) -> None:
    given = conf[KEYSTONE]
    if not given.www_authenticate_uri:
        raise errors.ConfigurationError(f"[{KEYSTONE}] www_authenticate_uri is missing: name the URL that clients use")
    if not given.auth_type and not given.auth_section:
        raise errors.ConfigurationError(
            f"[{KEYSTONE}] auth_type is missing: it is password, with auth_url, username, password and so on"
        )


def _with_cors(conf: cfg.ConfigOpts, application: Any) -> Any:
    from oslo_middleware import cors

    options.set_cors_defaults()
    conf.register_opts(cors.OPTS, group=CORS)
    return cors.CORS(application, conf) if conf.cors.allowed_origin else application


def _behind_proxy(conf: cfg.ConfigOpts, application: Any) -> Any:
    from oslo_middleware import http_proxy_to_wsgi

    conf.register_opts(http_proxy_to_wsgi.OPTS, group=MIDDLEWARE)
    if not conf.oslo_middleware.enable_proxy_headers_parsing:
        return application
    trusting = http_proxy_to_wsgi.HTTPProxyToWSGI(application, conf)

    def remembering(environ: dict[str, Any], start_response: Any) -> Any:
        environ[callers.PEER] = environ.get("REMOTE_ADDR")  # a header says who calls, but not who is believed
        return trusting(environ, start_response)

    return remembering


def _mentioned(conf: cfg.ConfigOpts, section: str) -> bool:
    """Whether files or environment hold that section; asking costs less than importing what it is for."""
    return section in conf.list_all_sections() or any(name.startswith(f"OS_{section.upper()}__") for name in os.environ)
