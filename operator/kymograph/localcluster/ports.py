"""A free port that stays ours until the server that was told it listens there."""

import socket


class Reservation:
    """Holds a free TCP port of 127.0.0.1.

    The socket is bound but does not listen, with SO_REUSEPORT set: the kernel gives the port to nobody else by itself,
    refuses it to whoever does not set that option too, and sends no connection to us. A server that sets it
    (`kube-apiserver --permit-port-sharing`) can take the port over without a moment in which another could.

    Attributes:
        port: Its number.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Lets go of the port; harmless when done twice."""
        self._socket.close()
