"""What a trace shows of webhook configurations: each write, what was asked for it, and because of what."""

import pathlib

from opentelemetry import trace
from opentelemetry.trace import SpanContext

from fakes.stored import stored
from kymograph.clients.kubernetes import errors
from kymograph.controllers.admission import webhooknames
from support import trees

NAMES = webhooknames.KYMOGRAPH


async def test_each_write_is_a_span(here, kept) -> None:
    """Named after the configuration."""
    here.start(stored("p", 1))
    await here.covered()
    written = trees.below(kept.finished(), "ADMISSION webhook configuration")
    assert sorted(span.name for span in written) == [
        f"ADMISSION webhook configuration {NAMES.policies}",
        f"ADMISSION webhook configuration {NAMES.reachability}",
        f"ADMISSION webhook configuration {NAMES.mutation}",
        f"ADMISSION webhook configuration {NAMES.validation}",
        f"ADMISSION webhook configuration {NAMES.ttl}",
    ]


async def test_the_tree_of_a_reconciliation(here, kept) -> None:
    """See `webhooks.tree`: one root for each configuration that is written or removed."""
    here.start(stored("p", 1))
    await here.covered()
    spans = trees.below(kept.finished(), "ADMISSION webhook configuration")
    trees.compare(pathlib.Path(__file__).with_name("webhooks.tree"), spans)


async def test_writes_are_linked_to_what_they_are_because_of(here, kept) -> None:
    """Those that have to be tried again, too."""
    given = [SpanContext(1, 2, is_remote=False)]
    here.registration._causes = lambda: [given.pop()] if given else []
    here.cluster.failures = [errors.Unreachable("refused")]
    here.start(stored("p", 1))
    await here.covered()
    spans = trees.below(kept.finished(), "ADMISSION webhook configuration")
    assert "Unreachable" in {span.attributes.get("error.type") for span in spans}
    assert [[link.context.trace_id for link in span.links] for span in spans] == [[1]] * len(spans)


async def test_what_is_served_is_asked_for_in_a_trace_of_its_own(here, kept) -> None:
    """Linked to what has changed meanwhile; what is read for it is below it, and it says what went wrong."""
    given = [SpanContext(1, 2, is_remote=False)]
    here.registration._causes = lambda: [given.pop()] if given else []
    around = []

    def unreachable() -> None:
        around.append(trace.get_current_span().get_span_context().span_id)
        here.catalogues.during = lambda: around.append(trace.get_current_span().get_span_context().span_id)
        raise errors.Unreachable("refused")

    here.catalogues.during = unreachable
    here.start(stored("p", 1))
    await here.covered()
    spans = trees.below(kept.finished(), "ADMISSION discovery")
    assert [span.attributes.get("error.type") for span in spans] == ["Unreachable", None]
    assert [span.context.span_id for span in spans] == around
    assert [[link.context.trace_id for link in span.links] for span in spans] == [[1], [1]]
