"""Whether a Ray cluster answers at an address: Ray itself would try for minutes."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

_WAIT = 5.0  # seconds for the connection, and for the answer
# What opens HTTP/2, which gRPC and so Ray speak; a server answers with its settings, frame type 4.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4


def why_unreachable(place: str) -> str:
    """Return why nothing like Ray answers at ``host:port``, in words; an empty string where it does.

    Example:
        >>> why_unreachable("127.0.0.1")
        'it has no port'
    """
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if not host or not port:
        return "it has no port"
    try:
        with socket.create_connection((host, port), timeout=_WAIT) as wire:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return ""  # who is there is found out by Ray, with its certificates
            wire.sendall(_HELLO)
            answer = wire.recv(9)
    except TimeoutError:
        return "no answer in time"
    except OSError as error:
        return error.strerror or str(error)
    return "" if len(answer) > 3 and answer[3] == _SETTINGS else "something else than Ray answers"
