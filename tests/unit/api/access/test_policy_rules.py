"""The rules of the policy name the operations that they guard."""

from collections import defaultdict

from oslo_policy.policy import DocumentedRuleDefault

from snapmanage.api.access import policy
from snapmanage.api.routes import PROJECT


def test_each_rule_names_the_operations_of_the_routes_that_need_it() -> None:
    guarded: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for path, route in PROJECT.items():
        for method, operation in route.methods.items():
            for rule in operation.rules:
                guarded[rule].add((method, path))

    named = {
        rule.name: {(each["method"], each["path"]) for each in rule.operations}
        for rule in policy.list_rules()
        if isinstance(rule, DocumentedRuleDefault)
    }

    assert named == guarded
