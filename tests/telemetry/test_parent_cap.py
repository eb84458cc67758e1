"""A token bucket that holds one second's worth."""

from hypothesis import given
from hypothesis import strategies as st

from kymograph.telemetry import capping

SECOND = 1_000_000_000


def test_a_seconds_worth_at_once_and_then_one_as_time_goes():
    cap = capping.Cap(10)
    assert [cap.admits(0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert cap.admits(SECOND // 10)
    assert not cap.admits(SECOND // 10)
    assert cap.refused == 3


def test_a_long_rest_saves_up_no_more_than_a_second():
    cap = capping.Cap(2)
    cap.admits(0)
    assert [cap.admits(3600 * SECOND) for _ in range(3)] == [True, True, False]


def test_a_request_that_arrived_earlier_gains_nothing():
    cap = capping.Cap(1)
    assert cap.admits(10 * SECOND)
    assert not cap.admits(9 * SECOND)
    assert not cap.admits(10 * SECOND)


def test_another_rate_holds_from_now_on():
    cap = capping.Cap(1)
    cap.admits(0)
    cap.change(3)
    assert [cap.admits(0) for _ in range(4)] == [True] * 3 + [False]
    cap.change(0)
    assert not cap.admits(10 * SECOND)


@given(st.integers(0, 100), st.lists(st.integers(0, SECOND // 4), max_size=200))
def test_never_more_than_the_rate_and_a_seconds_worth(per_second, pauses):
    cap = capping.Cap(per_second)
    now = admitted = 0
    for pause in pauses:
        now += pause
        admitted += cap.admits(now)
    assert admitted <= per_second + now * per_second / SECOND + 1e-6
    assert admitted + cap.refused == len(pauses)
