"""How long what failed waits until it is tried again; jitter, where several would come together, is its caller's."""

_DOUBLINGS = 10
"""More of them lead past any longest pause, and in the end out of what a float can hold."""


def pause(failures: int, first: float, most: float) -> float:
    """Seconds to wait after so many failures in a row, one at least: doubled with each, up to the longest."""
    return min(first * 2.0 ** min(failures - 1, _DOUBLINGS), most)
