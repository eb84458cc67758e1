"""Pauses between tries."""

import pytest

from kymograph.controllers import backoff


@pytest.mark.parametrize(
    ("failures", "expected"), [(1, 0.5), (2, 1.0), (4, 4.0), (10, 256.0), (11, 300.0), (10**6, 300.0)]
)
def test_each_pause_is_twice_as_long_as_the_one_before_up_to_the_longest(failures, expected) -> None:
    assert backoff.pause(failures, 0.5, 300.0) == expected
