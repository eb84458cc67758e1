"""What the expressions of a rule see beside the request: context entries, loaded when an expression first names them.

    entries = context.compile(rule["context"], "spec.rules[0].context", problems, namespace="")
    seen = context.nested(request_context, {}, entries, budget)
    seen["settings"]  # asks for the ConfigMap now, and never again

A context is a plain dict as long as nothing in it has to be loaded, so that rules without entries pay nothing.
"""

from kymograph.engine.context.entries import Entry, compile  # noqa: A004 - the field's word
from kymograph.engine.context.images import IMAGES
from kymograph.engine.context.images import by as images_by
from kymograph.engine.context.outside import laid_over
from kymograph.engine.context.scope import Scope, nested

__all__ = ["IMAGES", "Entry", "Scope", "compile", "images_by", "laid_over", "nested"]
