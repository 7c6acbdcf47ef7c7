"""A tracking server: whether it is there, and its address without secrets."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from http.client import HTTPException

from tfprune.errors import TrackingError

_WAIT = 5.0  # seconds


def check_server(uri: str) -> None:
    """Ask an HTTP server once, so that a wrong address is not found out after minutes of retries.

    Raises:
        TrackingError: it does not answer.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_WAIT):
            pass
    except urllib.error.HTTPError:
        pass  # it answers; whether it lets us in is told by the first call
    except (OSError, HTTPException, ValueError, OverflowError) as error:
        reason = getattr(error, "reason", None) or error
        raise TrackingError(
            f"the tracking server {shown(uri)} does not answer ({reason}); "
            "start it, or set track.uri or MLFLOW_TRACKING_URI"
        ) from error


def shown(uri: str) -> str:
    """An address as messages may show it.

    Example:
        >>> shown("postgresql://me:secret@there/records")
        'postgresql://me:***@there/records'
    """
    return re.sub(r"(://[^:/@]*):[^/@]*@", r"\1:***@", uri)
