"""The result of a rule as reports show it: the status that counts and the message that is read."""

from kymograph.engine import policy, results
from kymograph.engine.rules import outcome


def status(each: policy.CompiledPolicy, result: results.RuleResult) -> str:
    """`pass`, `fail`, `skip`, `warn` or `error`; what fails under an unscored policy is a warning.

    Args:
        each: The policy.
        result: The result of one of its rules.
    """
    return outcome.WARN if result.status == outcome.FAIL and not each.scored else result.status


def message(result: results.RuleResult) -> str:
    """The message; `reportProperties` may replace it for one status (`failMessage`) or for all (`message`).

    Args:
        result: The result of a rule.
    """
    properties = result.properties
    if not properties:
        return result.message
    return properties.get("message") or properties.get(f"{result.status}Message") or result.message
