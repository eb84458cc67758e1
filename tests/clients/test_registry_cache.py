"""What registries gave is held while there is room, and it is told how often that helped."""

from kymograph.clients.registry import cache


def test_what_was_not_used_for_the_longest_time_goes_first():
    held = cache.Cache(3)
    for each in "abc":
        held.put(each, each.encode())
    assert held.get("a") == b"a"
    held.put("d", b"d")
    assert [each for each in "abcd" if held.get(each)] == ["a", "c", "d"]


def test_every_look_is_a_hit_or_a_miss():
    held = cache.Cache(10)
    assert held.get("a") is None
    held.put("a", b"x")
    assert held.get("a") == b"x"
    assert held.get("a") == b"x"
    assert (held.hits, held.misses) == (2, 1)
