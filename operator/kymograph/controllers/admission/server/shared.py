"""What the connections of one server have in common."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from kymograph.controllers.admission.server import limits as bounds
from kymograph.controllers.admission.server import messages

if TYPE_CHECKING:
    from kymograph.controllers.admission.server import connection

_READ_SIZE: Final = 256 * 1024


@dataclasses.dataclass(slots=True)
class Shared:
    """What the connections of one server have in common.

    Attributes:
        routes: Handlers by path; looked up anew for every request.
        limits: What a connection may cost.
        on_refused: Told the reason of every refusal.
        clock: Monotonic nanoseconds.
        loop: The event loop they live on.
        connections: Those whose handshake is done.
        buffer: Where received bytes are decrypted to; one for all, since they are parsed before anyone else reads.
        buffered: Bytes of bodies that are not complete.
        stragglers: Tasks that were cancelled and have not ended yet.
        empty: Set while there are no connections.
        draining: Whether every answer is now the last of its connection.
    """

    routes: Mapping[str, messages.Handler]
    limits: bounds.Limits
    on_refused: Callable[[str], None]
    clock: Callable[[], int]
    loop: asyncio.AbstractEventLoop
    empty: asyncio.Event
    connections: set["connection.Connection"] = dataclasses.field(default_factory=set)
    buffer: memoryview = dataclasses.field(default_factory=lambda: memoryview(bytearray(_READ_SIZE)))
    buffered: int = 0
    stragglers: set[asyncio.Future[messages.Answer]] = dataclasses.field(default_factory=set)
    draining: bool = False
