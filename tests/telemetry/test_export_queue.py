"""The queue before the exporters: it never blocks, loses nothing it can deliver, and counts the rest."""

import itertools
import threading
import time

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from kymograph.telemetry import export, memory, spanqueue
from kymograph.telemetry.export import Reason

PATIENCE = 30.0


def span(number=1, *, sampled=True):
    context = SpanContext(1, number, is_remote=False, trace_flags=TraceFlags(1 if sampled else 0))
    return ReadableSpan(f"span {number}", context=context, resource=Resource.get_empty())


@pytest.fixture
def new_queue():
    queues = []

    def make(render=lambda _: [], **options):
        options = {"linger": 60.0, "grace": 0.2, **options}
        queues.append(spanqueue.ExportQueue(render, wall_clock=lambda: 42, clock=time.monotonic, **options))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close(0)


def numbers(exporter):
    return sorted(span.context.span_id for span in exporter.spans)


def settled(status):
    return status.sent + sum(status.dropped.values()) + status.pending


def test_without_an_exporter_nothing_is_taken_and_nothing_counted(new_queue):
    queue = new_queue()
    queue.on_end(span())
    assert not queue.enabled
    assert settled(queue.status()) == 0


def test_a_span_is_delivered(new_queue, fake_exporter):
    queue, exporter = new_queue(), fake_exporter()
    queue.swap(exporter)
    queue.on_end(span(7))
    assert queue.flush(PATIENCE)
    status = queue.status()
    assert numbers(exporter) == [7]
    assert (status.sent, status.pending, status.last_success, status.last_error) == (1, 0, 42, None)


def test_a_span_that_is_not_sampled_is_not_exported(new_queue, fake_exporter):
    queue, exporter = new_queue(), fake_exporter()
    queue.swap(exporter)
    queue.on_end(span(sampled=False))
    assert queue.flush(PATIENCE)
    assert exporter.spans == []


def test_spans_wait_for_others_to_share_their_batch(new_queue, fake_exporter):
    queue, exporter = new_queue(), fake_exporter()
    queue.swap(exporter)
    for number in range(1, export.BATCH):
        queue.on_end(span(number))
    assert not exporter.exporting.wait(0.05)
    queue.on_end(span(export.BATCH))
    assert exporter.exporting.wait(PATIENCE)
    assert queue.flush(PATIENCE)
    assert exporter.batches == [export.BATCH]


def test_but_not_until_there_is_no_room_left(new_queue, fake_exporter):
    """Large ones are sent while there is room for others, and no more of them at once than leave it."""
    queue, exporter = new_queue(linger=PATIENCE, room=memory.Share(10_000)), fake_exporter(hang=True)
    queue.swap(exporter)
    for number in range(1, 8):
        assert queue.put(span(number), 1_000)
    assert exporter.exporting.wait(PATIENCE)
    assert all(queue.put(span(number), 1_000) for number in range(8, 11))
    assert not queue.put(span(11), 1_000)
    exporter.gate.set()
    assert queue.flush(PATIENCE)
    assert exporter.batches == [6, 4]


def test_but_not_longer_than_the_linger(new_queue, fake_exporter):
    queue, exporter = new_queue(linger=0.01), fake_exporter()
    queue.swap(exporter)
    queue.on_end(span())
    assert exporter.exporting.wait(PATIENCE)


def test_a_recorder_is_rendered_outside_the_callers_thread(new_queue, fake_exporter, new_recorder):
    threads = []

    def render(_):
        threads.append(threading.get_ident())
        return [span(1), span(2)]

    queue, exporter = new_queue(render), fake_exporter()
    queue.swap(exporter)
    assert queue.offer(new_recorder())
    assert queue.flush(PATIENCE)
    assert numbers(exporter) == [1, 2]
    assert threads != [threading.get_ident()]
    assert queue.status().sent == 2


def test_a_recorder_that_cannot_be_rendered_costs_no_other_span(new_queue, fake_exporter, new_recorder):
    def render(_):
        raise KeyError("policy")

    queue, exporter = new_queue(render), fake_exporter()
    queue.swap(exporter)
    queue.offer(new_recorder())
    queue.on_end(span(7))
    assert queue.flush(PATIENCE)
    status = queue.status()
    assert numbers(exporter) == [7]
    assert (status.dropped[Reason.RENDER_FAILED], status.pending) == (1, 0)
    assert "policy" in status.last_error


def test_a_trace_larger_than_a_batch_is_sent_in_several(new_queue, fake_exporter, new_recorder):
    spans = [span(number) for number in range(1, 3 * export.BATCH)]
    queue, exporter = new_queue(lambda _: spans), fake_exporter()
    queue.swap(exporter)
    queue.offer(new_recorder())
    assert queue.flush(PATIENCE)
    assert exporter.batches == [export.BATCH, export.BATCH, export.BATCH - 1]


def test_a_hanging_exporter_costs_the_newest_spans_and_no_callers_time(new_queue, fake_exporter):
    queue, exporter = new_queue(capacity=10, linger=0.0), fake_exporter(hang=True)
    queue.swap(exporter)
    queue.on_end(span(1))
    assert exporter.exporting.wait(PATIENCE)
    began = time.monotonic()
    for number in range(2, 20):
        queue.on_end(span(number))
    assert time.monotonic() - began < PATIENCE, "the exporter hangs for longer"
    assert queue.status().dropped[Reason.QUEUE_FULL] == 8
    assert settled(queue.status()) == 19
    exporter.gate.set()
    assert queue.flush(PATIENCE)
    assert numbers(exporter) == list(range(1, 12))


def test_a_flush_gives_up_in_time(new_queue, fake_exporter):
    queue = new_queue()
    queue.swap(fake_exporter(hang=True))
    queue.on_end(span())
    assert not queue.flush(0.01)


@pytest.mark.parametrize(("rejected", "sent", "dropped"), [(None, 0, 3), (2, 1, 2)])
def test_a_batch_that_an_exporter_gave_up_is_counted(new_queue, fake_exporter, rejected, sent, dropped):
    queue = new_queue()
    queue.swap(fake_exporter(fail=True, rejected=rejected))
    for number in (1, 2, 3):
        queue.on_end(span(number))
    assert queue.flush(PATIENCE)
    status = queue.status()
    assert (status.sent, status.dropped[Reason.EXPORT_FAILED]) == (sent, dropped)
    assert (status.last_error, status.last_error_at) == ("refused", 42)


def test_any_exception_of_an_exporter_is_a_failed_batch_and_the_next_one_is_tried(new_queue, fake_exporter):
    exporter = fake_exporter()
    working = exporter.export
    queue = new_queue()

    def broken(spans):
        exporter.export = working
        raise ValueError("channel closed")

    exporter.export = broken
    queue.swap(exporter)
    queue.on_end(span(1))
    assert queue.flush(PATIENCE)
    queue.on_end(span(2))
    assert queue.flush(PATIENCE)
    assert numbers(exporter) == [2]
    assert queue.status().last_error == "ValueError('channel closed')"


def test_what_waits_goes_to_the_new_exporter_and_the_old_one_is_shut_down(new_queue, fake_exporter):
    queue, old, new = new_queue(), fake_exporter(), fake_exporter()
    queue.swap(old)
    queue.on_end(span(1))
    queue.swap(new)
    assert queue.flush(PATIENCE)
    assert old.stopped.wait(PATIENCE)
    assert (numbers(old), numbers(new)) == ([], [1])
    assert not new.stopped.is_set()


def test_a_batch_under_way_in_an_exporter_that_lives_is_delivered_once(new_queue, fake_exporter):
    queue, old, new = new_queue(linger=0.0, grace=PATIENCE), fake_exporter(hang=True), fake_exporter()
    queue.swap(old)
    queue.on_end(span(1))
    assert old.exporting.wait(PATIENCE)
    queue.swap(new)
    queue.on_end(span(2))
    assert new.exporting.wait(PATIENCE)
    old.gate.set()
    assert queue.flush(PATIENCE)
    assert (numbers(old), numbers(new)) == ([1], [2])
    assert old.stopped.wait(PATIENCE)


@pytest.mark.parametrize("fails_in_the_end", [False, True])
def test_a_batch_in_an_exporter_that_hangs_goes_to_the_new_one(new_queue, fake_exporter, fails_in_the_end):
    queue, old, new = new_queue(linger=0.0), fake_exporter(hang=True, fail=fails_in_the_end), fake_exporter()
    queue.swap(old)
    queue.on_end(span(1))
    assert old.exporting.wait(PATIENCE)
    queue.swap(new)
    assert queue.flush(PATIENCE)
    assert numbers(new) == [1]
    old.gate.set()
    old.thread.join(PATIENCE)
    assert not old.thread.is_alive(), "it has told what became of its batch"
    assert queue.status().sent == 1
    assert sum(queue.status().dropped.values()) == 0


def test_a_batch_that_fails_because_its_exporter_is_being_replaced_goes_to_the_new_one(new_queue, fake_exporter):
    """Shutting a gRPC channel down makes the call under way fail."""
    queue, old, new = new_queue(linger=0.0), fake_exporter(hang=True, fail=True), fake_exporter()
    old.shutdown = old.gate.set
    queue.swap(old)
    queue.on_end(span(1))
    assert old.exporting.wait(PATIENCE)
    queue.swap(new)
    assert queue.flush(PATIENCE)
    assert numbers(new) == [1]
    assert sum(queue.status().dropped.values()) == 0
    assert queue.status().last_error is None, "the new one has not failed"


def test_swapped_for_none_the_old_exporter_still_ships_what_waits(new_queue, fake_exporter):
    queue, old = new_queue(grace=PATIENCE), fake_exporter()
    queue.swap(old)
    for number in (1, 2, 3):
        queue.on_end(span(number))
    queue.swap(None)
    assert not queue.enabled
    assert queue.flush(PATIENCE)
    assert numbers(old) == [1, 2, 3]
    assert old.stopped.wait(PATIENCE)


def test_swapped_for_none_what_a_hanging_exporter_cannot_ship_is_counted(new_queue, fake_exporter):
    queue, old = new_queue(linger=0.0), fake_exporter(hang=True)
    queue.swap(old)
    queue.on_end(span(1))
    assert old.exporting.wait(PATIENCE)
    queue.on_end(span(2))
    queue.swap(None)
    assert queue.flush(PATIENCE)
    assert queue.status().dropped[Reason.NO_EXPORTER] == 2
    old.gate.set()


def test_an_exporter_whose_shutdown_raises_is_let_go_of(new_queue, fake_exporter):
    queue, old = new_queue(), fake_exporter()

    def refuse():
        old.stopped.set()
        raise RuntimeError("already shut down")

    old.shutdown = refuse
    queue.swap(old)
    queue.swap(None)
    assert old.stopped.wait(PATIENCE)


def test_closing_delivers_what_waits_and_takes_nothing_more(new_queue, fake_exporter):
    queue, exporter = new_queue(), fake_exporter()
    queue.swap(exporter)
    queue.on_end(span(1))
    queue.close(PATIENCE)
    queue.on_end(span(2))
    assert numbers(exporter) == [1]
    assert exporter.stopped.is_set()
    assert settled(queue.status()) == 1


def test_closing_with_a_hanging_exporter_returns_in_time_and_counts(new_queue, fake_exporter):
    queue, exporter = new_queue(linger=0.0), fake_exporter(hang=True)
    queue.swap(exporter)
    queue.on_end(span(1))
    assert exporter.exporting.wait(PATIENCE)
    began = time.monotonic()
    queue.close(0.05)
    assert time.monotonic() - began < PATIENCE / 2
    assert queue.status().dropped[Reason.SHUTDOWN] == 1
    exporter.gate.set()


def test_swapping_under_load_loses_nothing_and_doubles_nothing(new_queue, fake_exporter):
    room = memory.Share(1_000_000_000)
    queue = new_queue(capacity=1_000_000, linger=0.001, grace=PATIENCE, room=room)
    exporters = [fake_exporter() for _ in range(8)]
    queue.swap(exporters[0])
    numbered, done = itertools.count(1), threading.Event()

    def produce():
        while not done.is_set():
            queue.on_end(span(next(numbered)))

    producers = [threading.Thread(target=produce) for _ in range(3)]
    for producer in producers:
        producer.start()
    for old, new in itertools.pairwise(exporters):
        assert old.exporting.wait(PATIENCE)
        queue.swap(new)
    assert exporters[-1].exporting.wait(PATIENCE)
    done.set()
    for producer in producers:
        producer.join()
    assert queue.flush(PATIENCE)
    delivered = sorted(number for exporter in exporters for number in numbers(exporter))
    assert delivered == list(range(1, next(numbered)))
    assert queue.status().sent == len(delivered)


def test_closed_right_after_a_swap_a_batch_in_an_exporter_that_hangs_goes_to_the_new_one(new_queue, fake_exporter):
    """A process that ends within seconds of a change of endpoints loses nothing that the new one takes."""
    queue, old, new = new_queue(linger=0.0, grace=1.0), fake_exporter(hang=True), fake_exporter()
    queue.swap(old)
    queue.on_end(span(1))
    assert old.exporting.wait(PATIENCE)
    queue.swap(new)
    queue.on_end(span(2))
    queue.close(PATIENCE)
    status = queue.status()
    assert numbers(new) == [1, 2]
    assert (status.sent, status.pending, sum(status.dropped.values())) == (2, 0, 0)
    assert old.stopped.is_set()
    assert new.stopped.is_set()
    old.gate.set()


def test_closed_right_after_a_swap_an_exporter_that_is_only_slow_ends_its_batch(new_queue, fake_exporter):
    queue, old, new = new_queue(linger=0.0, grace=PATIENCE), fake_exporter(hang=True), fake_exporter()
    queue.swap(old)
    queue.on_end(span(1))
    assert old.exporting.wait(PATIENCE)
    queue.swap(new)
    threading.Timer(0.1, old.gate.set).start()
    queue.close(PATIENCE)
    assert (numbers(old), numbers(new)) == ([1], [])
    assert (queue.status().sent, queue.status().pending) == (1, 0)


def test_encoded_spans_in_an_exporter_that_hangs_go_to_the_new_one_as_they_are(new_queue, fake_exporter, new_recorder):
    """Written once: with the same ids, so that a receiver that did get them the first time can tell."""
    written = iter([[b"first", b"second"]])
    queue, old, new = new_queue(lambda _: next(written), linger=0.0), fake_exporter(hang=True), fake_exporter()
    queue.swap(old)
    queue.offer(new_recorder())
    assert old.exporting.wait(PATIENCE)
    queue.swap(new)
    assert queue.flush(PATIENCE)
    assert new.spans == [b"first", b"second"]
    old.gate.set()
    old.thread.join(PATIENCE)
    assert (queue.status().sent, sum(queue.status().dropped.values())) == (2, 0)
