"""What a connection may cost, in bytes and seconds."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one server. Sizes are bytes, times are seconds.

    Attributes:
        head: Request line and header fields of a request. API servers send less than 2 KiB.
        body: One request's body. An API server takes objects of up to about 3 MiB, and a review of an update holds two.
        buffered: Bodies that are still arriving, over all connections: what a crowd of slow clients can occupy.
        unsent: Answers of one connection that its client has not read; beyond it no more of its requests are taken.
        connections: Connections served at a time. More are answered 503, and beyond twice as many cut.
        backlog: Connections the kernel holds until they are accepted.
        handshake_timeout: From the connection to the end of its TLS handshake.
        head_timeout: From the first byte of a request to the end of its header fields.
        body_timeout: From there to the end of the body; also how long a client may leave its answers unread.
        idle_timeout: From an answer to the next request. client-go closes idle connections after 90 s; a server that
            waits longer never closes one just as a request is on its way.
        linger: After a refusal that leaves input unread: a socket closed at once would reset the connection and the
            client would not see the answer.
    """

    head: int = 32 * 1024
    body: int = 8 * 1024 * 1024
    buffered: int = 256 * 1024 * 1024
    unsent: int = 256 * 1024
    connections: int = 1000
    backlog: int = 1024
    handshake_timeout: float = 10.0
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 300.0
    linger: float = 1.0

    def resolution(self) -> float:
        """How often, in seconds, connections are looked at to find the ones whose time is up."""
        shortest = min(self.head_timeout, self.body_timeout, self.idle_timeout, self.linger)
        return min(max(shortest / 4, 0.01), 1.0)
