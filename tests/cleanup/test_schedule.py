"""The timetable gives what is due in order, whatever is moved and taken out meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from kymograph.controllers.cleanup import schedule

OPERATIONS = st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 20)), max_size=60)


@given(OPERATIONS)
def test_it_is_a_dictionary_sorted_by_moment(operations) -> None:
    """A model: the last moment put for each key, without those dropped."""
    timetable: schedule.Schedule[int] = schedule.Schedule()
    model: dict[int, tuple[int, int]] = {}
    for serial, (key, moment) in enumerate(operations):
        if moment is None:
            timetable.drop(key)
            model.pop(key, None)
        else:
            timetable.put(key, moment)
            model[key] = (moment, serial)
    assert len(timetable) == len(model)
    expected = sorted(model, key=model.__getitem__)
    popped = []
    while (first := timetable.first()) is not None:
        popped.append(timetable.pop())
        assert first == model[popped[-1]][0]
    assert popped == expected


def test_moving_an_entry_for_ever_takes_no_memory() -> None:
    """Labels can be changed again and again."""
    timetable: schedule.Schedule[str] = schedule.Schedule()
    for moment in range(100_000):
        timetable.put("restless", moment)
    assert len(timetable._heap) < 200
    assert timetable.first() == 99_999
