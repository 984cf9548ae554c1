"""The configured authentication, policy and middleware of the API.

A strategy or a middleware is imported, and its options are registered, only if the configuration uses it.
"""

import os
from configparser import Error as ConfigParserError
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_messaging import opts as messaging_options

from snapmanage import certificates, errors
from snapmanage import conf as options
from snapmanage.api.access.callers import Authenticate, checks_at_once
from snapmanage.api.access.log import AccessLog
from snapmanage.api.access.noauth import NoAuth
from snapmanage.api.access.policy import Policy

CORS = "cors"
MIDDLEWARE = "oslo_middleware"
AUDIT = "audit_middleware_notifications"
NOTIFICATIONS = "oslo_messaging_notifications"
# Not a topic of [DEFAULT] notification_topics: snapmanage-audit would read events that are none of a snapshot.
AUDIT_TOPIC = "snapmanage-api-audit"
KEYSTONE = "keystone_authtoken"
POLICY_FILE = "policy.yaml"


def authentication(conf: cfg.ConfigOpts) -> Authenticate:
    """Return the strategy of `[api] auth_strategy`; raise `ConfigurationError` if an option or a package is missing."""
    if conf.api.auth_strategy == "http_basic":
        return _http_basic(conf)
    if conf.api.auth_strategy == "keystone":
        return _keystone(conf)
    return _noauth(conf)


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
    """Return the application behind the access log, and behind CADF events, CORS and proxy headers if configured.

    The headers of a proxy are read first, because the access log has the caller's address.
    """
    if conf.api.audit_map_file:
        application = _audited(conf, application)
    if _mentioned(conf, CORS):
        application = _with_cors(conf, application)
    application = AccessLog(application)
    if _mentioned(conf, MIDDLEWARE):
        application = _behind_proxy(conf, application)
    return application


def _http_basic(conf: cfg.ConfigOpts) -> Authenticate:
    """Return the strategy `http_basic`; checks of passwords get half of the processors and most of the threads."""
    from oslo_middleware import basic_auth

    from snapmanage.api.access.http_basic import HttpBasic
    from snapmanage.api.access.password_checks import PasswordChecks

    conf.register_opts(basic_auth.OPTS, group=MIDDLEWARE)
    processors, threads = len(os.sched_getaffinity(0)), conf.api.threads
    checks = PasswordChecks(conf.api.wrong_passwords_per_minute, max(1, processors // 2), checks_at_once(threads))
    return HttpBasic(Path(conf.oslo_middleware.http_basic_auth_user_file), checks)


def _noauth(conf: cfg.ConfigOpts) -> Authenticate:
    """Return the strategy `noauth`, which serves the pages of `[cors] allowed_origin` too.

    The origin `*` names no page, so it opens an API without authentication to none.
    """
    cors = _with_cors(conf, None) if _mentioned(conf, CORS) else None
    return NoAuth(frozenset(cors.allowed_origins if cors else ()), conf.api.noauth_anywhere)


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
    validations = tokens.Validations(checks_at_once(conf.api.threads), conf[KEYSTONE].token_cache_time)
    try:
        return keystone.Keystone(lambda application: keystone.Middleware(application, forced), validations, token_cache)
    except ClientException as error:
        raise errors.ConfigurationError(f"[{KEYSTONE}] is incomplete: {error}") from error


def _require_keystone_options(conf: cfg.ConfigOpts) -> None:
    given = conf[KEYSTONE]
    if not given.www_authenticate_uri:
        raise errors.ConfigurationError(
            f"[{KEYSTONE}] www_authenticate_uri is missing; set it to the URL of Keystone that clients use"
        )
    if given.insecure:
        raise errors.ConfigurationError(
            f"[{KEYSTONE}] insecure = true would send this service's password and the callers' tokens to any server; "
            "remove it, and set cafile to the file of the CA that issued Keystone's certificate"
        )
    for name in ("cafile", "certfile", "keyfile"):
        certificates.require_readable(f"[{KEYSTONE}] {name}", given[name] or None)
    if not given.auth_type and not given.auth_section:
        raise errors.ConfigurationError(
            f"[{KEYSTONE}] auth_type is missing; set it to password, and set auth_url, username, password, project_name"
        )


def _audited(conf: cfg.ConfigOpts, application: Any) -> Any:
    """Return the application behind keystonemiddleware's audit filter, whose events go to the log by default.

    A broker that can't be reached is tried once for each event, since further events wait meanwhile.
    """
    try:
        from keystonemiddleware import audit

        from snapmanage.api.access.cadf import CadfAudit
    except ImportError as error:
        raise errors.ConfigurationError(
            f"[api] audit_map_file needs a missing Python package: {error}; install snapmanage[keystone]"
        ) from error

    for group, known in [*audit.list_opts(), *messaging_options.list_opts()]:
        if group in (AUDIT, NOTIFICATIONS):
            conf.register_opts(known, group=group)
    conf.set_default("driver", "log", group=AUDIT)
    conf.set_default("topics", [AUDIT_TOPIC], group=AUDIT)
    conf.set_default("retry", 0, group=NOTIFICATIONS)
    given = {"audit_map_file": conf.api.audit_map_file, "oslo_config_config": conf}
    try:
        in_background = conf[AUDIT].driver != "log"
        return CadfAudit(application, lambda inner: audit.AuditMiddleware(inner, **given), in_background)
    except (OSError, ConfigParserError, audit.PycadfAuditApiConfigError) as error:
        text = " ".join(str(error).split())
        raise errors.ConfigurationError(
            f"[api] audit_map_file: {text}; copy etc/snapmanage/api_audit_map.conf of the source"
        ) from error


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
    return http_proxy_to_wsgi.HTTPProxyToWSGI(application, conf)


def _mentioned(conf: cfg.ConfigOpts, section: str) -> bool:
    """Return whether the files or the environment have that section; this costs less than importing its middleware."""
    return section in conf.list_all_sections() or any(name.startswith(f"OS_{section.upper()}__") for name in os.environ)
