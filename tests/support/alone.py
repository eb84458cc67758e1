"""A measurement in a process of its own: memory that threads of other tests take meanwhile is none of it."""

import inspect
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

_TESTS = pathlib.Path(__file__).parents[1]
_PROGRAM = """
import importlib, json, sys
module, name, given = sys.argv[1:]
print(json.dumps(getattr(importlib.import_module(module), name)(*json.loads(given))))
"""


def measured(function: Callable[..., Any], *given: object) -> Any:
    """What a function of the tests returns in a new process.

    Args:
        function: It has a name in its module, takes what JSON can say and returns such.
        given: Its arguments.

    Raises:
        subprocess.CalledProcessError: It raised; what it said is in the output.
    """
    file = pathlib.Path(inspect.getfile(function)).relative_to(_TESTS).with_suffix("")
    command = [sys.executable, "-c", _PROGRAM, ".".join(file.parts), function.__name__, json.dumps(given)]
    done = subprocess.run(command, cwd=_TESTS, stdout=subprocess.PIPE, check=True, timeout=200)
    return json.loads(done.stdout)
