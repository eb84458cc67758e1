"""A free port that stays ours until the server that was told it listens there."""

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
