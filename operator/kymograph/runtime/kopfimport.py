"""Imports Kopf without the official client library, which Kopf imports wherever that is installed.

Kopf only wants the library's model classes, to recognise them in what handlers return. We return none, and they cost a
second of start-up and 20 MiB. Whoever does need the library (a kubeconfig with an exec plugin) imports it later.
"""

import importlib
import sys

_LIBRARY = "kubernetes"


def import_kopf() -> None:
    """Import Kopf; call it before anything else does. It changes nothing where the library is imported already."""
    if _LIBRARY in sys.modules:
        return
    sys.modules[_LIBRARY] = None  # type: ignore[assignment]  # documented: makes an import of that name fail
    try:
        importlib.import_module("kopf")
    finally:
        del sys.modules[_LIBRARY]
