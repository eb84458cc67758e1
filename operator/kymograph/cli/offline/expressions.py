"""JMESPath on its own, outside of a policy: with the time and randomness of this machine, and nothing else to ask."""

import os
import time
from typing import Any

from kymograph.cli.offline import answers
from kymograph.engine import budget as budgets
from kymograph.engine import jmespath, needs


def search(expression: jmespath.Expression, data: Any) -> Any:
    """What an expression finds.

    Args:
        expression: The expression, compiled.
        data: What to search, as JSON.

    Raises:
        EvaluationError: It fails on the data.
    """
    world = answers.Answers(now=time.time_ns(), seed=os.urandom(32))
    facts = needs.Facts()
    while True:
        try:
            return expression.search(data, budgets.Budget(facts=facts))
        except needs.Needed as lacking:
            world.tell(lacking.need, facts)
