"""The policy file is valid YAML, and has no rule that nothing uses."""

from typing import Any

from oslo_config import cfg
from oslo_upgradecheck import common_checks
from oslo_upgradecheck.upgradecheck import Code, Result

from snapmanage import errors
from snapmanage.cmd.wiring import middleware
from snapmanage.core.readiness import in_one_line


def check(conf: cfg.ConfigOpts) -> Result:
    try:
        policy = middleware.policy(conf)
    except errors.ConfigurationError as error:
        return Result(Code.FAILURE, in_one_line(str(error)))
    in_json = common_checks.check_policy_json(_NO_COMMANDS, conf)
    if in_json.code is not Code.SUCCESS:
        return in_json
    if unused := policy.unused_rules():
        names = in_one_line(", ".join(unused))
        return Result(Code.WARNING, f"No request uses the rules {names}; correct their names, or remove them.")
    return Result(Code.SUCCESS)


# The library's function has the form of a method, and ignores its object.
_NO_COMMANDS: Any = None
