"""Listen in on a connection: a relay in front of a service, which notes the bytes that pass.

with wiretap(service.address) as tap:
    requests.get(tap.url + "/orders/order-1", timeout=2)
print(tap.sent, tap.received)
"""

import socket
import threading
from contextlib import suppress


def wiretap(address: str) -> "Wiretap":
    """Relay to the service at ``"127.0.0.1:PORT"`` for as long as the ``with`` block lasts."""
    return Wiretap(address)


class Wiretap:
    """A relay to a service. Raises ConnectionError when there is none at the address.

    Attributes: ``address`` and ``url``, to be called in place of the service's own; and, since the
    last `clear()`, ``sent``, the bytes that clients have sent, ``received``, those that came back,
    and ``connections``, how many were opened.
    """

    def __init__(self, address: str):
        host, _, port = address.rpartition(":")
        if not (host and port.isdigit()):
            raise ValueError(
                f"address={address!r}: give a service's address, as service.address has it"
            )
        self._target = host, int(port)
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget what has passed so far."""
        with self._lock:
            self.sent, self.received, self.connections = b"", b"", 0

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def __enter__(self) -> "Wiretap":
        socket.create_connection(self._target, timeout=2).close()  # is anybody there?
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        with self._lock:
            for open_socket in (self._listener, *self._sockets):
                with suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)
                open_socket.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the block has ended, or the service has
            while True:
                client, _ = self._listener.accept()
                service = socket.create_connection(self._target)
                for end in (client, service):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets += client, service
                    self.connections += 1
                for way in ((client, service, "sent"), (service, client, "received")):
                    threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source, target, what) -> None:
        with suppress(OSError):
            while passing := source.recv(65536):
                with self._lock:
                    setattr(self, what, getattr(self, what) + passing)
                target.sendall(passing)
            target.shutdown(socket.SHUT_WR)
