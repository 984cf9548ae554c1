"""The configured authentication, policy and middleware of the API.

A strategy or a middleware is imported, and its options are registered, only if the configuration uses it.
"""

import os
from functools import partial
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
    """Return the strategy of `[api] auth_strategy`; raise `ConfigurationError` if an option or a package is missing."""
    if conf.api.auth_strategy == "http_basic":
        from oslo_middleware import basic_auth

        from snapmanage.api.access.http_basic import HttpBasic

        conf.register_opts(basic_auth.OPTS, group=MIDDLEWARE)
        return HttpBasic(Path(conf.oslo_middleware.http_basic_auth_user_file))
    if conf.api.auth_strategy == "keystone":
        return _keystone(conf)
    return partial(callers.noauth, anywhere=conf.api.noauth_anywhere)


def policy(conf: cfg.ConfigOpts) -> Policy:
    """Return the policies; raise `ConfigurationError` if the policy file is missing or invalid."""
    made = Policy(conf)
    named = conf.oslo_policy.policy_file
    if named != POLICY_FILE and conf.find_file(named) is None:
        raise errors.ConfigurationError(
            f"[oslo_policy] policy_file: {named} does not exist; create it, or remove the option"
        )
    made.check()
    return made


def surround(conf: cfg.ConfigOpts, application: Any) -> Any:
    """Return the application behind oslo.middleware's CORS and proxy headers, as far as they are configured."""
    if _mentioned(conf, CORS):
        application = _with_cors(conf, application)
    if _mentioned(conf, MIDDLEWARE):
        application = _behind_proxy(conf, application)
    return application


def _keystone(conf: cfg.ConfigOpts) -> Authenticate:
    try:
        from keystoneauth1.exceptions import ClientException
        from keystonemiddleware import auth_token

        from snapmanage.api.access import keystone, tokens
    except ImportError as error:
        raise errors.ConfigurationError(
            f"[api] auth_strategy: keystone needs a missing Python package: {error}; install snapmanage[keystone]"
        ) from error

    options.set_keystone_defaults()
    for group, known in auth_token.list_opts():
        conf.register_opts(known, group=group)
    _require_keystone_options(conf)
    # The strategy refuses requests itself, with this API's errors.
    forced: dict[str, Any] = {"oslo_config_config": conf, "delay_auth_decision": True}
    token_cache = None
    if not conf[KEYSTONE].memcached_servers:
        forced["cache"] = tokens.CACHE
        token_cache = tokens.TokenCache(conf[KEYSTONE].token_cache_time)
    try:
        return keystone.Keystone(lambda application: keystone.Middleware(application, forced), token_cache)
    except ClientException as error:
        raise errors.ConfigurationError(f"[{KEYSTONE}] is incomplete: {error}") from error


def _require_keystone_options(conf: cfg.ConfigOpts) -> None:
    given = conf[KEYSTONE]
    if not given.www_authenticate_uri:
        raise errors.ConfigurationError(
            f"[{KEYSTONE}] www_authenticate_uri is missing; set it to the URL of Keystone that clients use"
        )
    if not given.auth_type and not given.auth_section:
        raise errors.ConfigurationError(
            f"[{KEYSTONE}] auth_type is missing; set it to password, and set auth_url, username, password, project_name"
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
        # Headers replace REMOTE_ADDR, and noauth checks the peer too.
        environ[callers.PEER] = environ.get("REMOTE_ADDR")
        return trusting(environ, start_response)

    return remembering


def _mentioned(conf: cfg.ConfigOpts, section: str) -> bool:
    """Return whether the files or the environment have that section; this costs less than importing its middleware."""
    return section in conf.list_all_sections() or any(name.startswith(f"OS_{section.upper()}__") for name in os.environ)
