"""The clock of the API server, by which is judged what has to be valid in its eyes."""

import datetime as dt

import pytest

from kymograph.clients.kubernetes import resources


async def test_its_clock_is_read_off_every_answer(connect, misbehaving) -> None:
    """Whatever the clock of this machine says, and going on between answers."""
    client = connect(misbehaving.connection())
    assert client.server_time is None
    for said, year in (("Sat, 01 Mar 2036 12:00:00 GMT", 2036), ("Fri, 01 Mar 2024 12:00:00 GMT", 2024)):
        misbehaving.says(text='{"metadata": {}}', Date=said)
        await client.get(resources.NAMESPACES, "a")
        first = client.server_time
        assert dt.timedelta() <= first - dt.datetime(year, 3, 1, 12, tzinfo=dt.UTC) < dt.timedelta(seconds=30)
        assert client.server_time > first


@pytest.mark.parametrize("said", ["yesterday", "Sat, 99 Mar 2036 12:00:00 GMT"])
async def test_a_date_that_is_none_is_no_clock(connect, misbehaving, said) -> None:
    client = connect(misbehaving.connection())
    misbehaving.says(text='{"metadata": {}}', Date=said)
    await client.get(resources.NAMESPACES, "a")
    assert client.server_time is None
