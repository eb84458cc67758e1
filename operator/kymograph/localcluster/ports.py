"""Free ports that stay ours until the server that was told of one listens there."""

import socket


class Reservation:
    """Holds a TCP port of 127.0.0.1.

    The socket is bound but does not listen, with SO_REUSEPORT set: the kernel gives the port to nobody else by itself,
    refuses it to whoever does not set that option too, and sends no connection to us. A server that sets it
    (`kube-apiserver --permit-port-sharing`) can take the port over without a moment in which another could.

    Args:
        port: Which one; 0 is any that is free. One that such a server listens on can be held too, for the time after.

    Attributes:
        port: Its number.
    """

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Lets go of the port; harmless when done twice."""
        self._socket.close()


def keep() -> int:
    """A TCP port of 127.0.0.1 for a server that sets SO_REUSEADDR; kept for it for as long as this process lives.

    The socket is bound but does not listen, with that option set: the kernel gives the port to nobody else by itself,
    neither to a server nor as the near end of a connection, and sends no connection to us. Whoever names the port and
    sets the option too, as asyncio, Go and gRPC do, can listen there, after a restart too, and then nobody else can.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port: int = kept.getsockname()[1]
        kept.detach()  # the process's end closes it
        return port
