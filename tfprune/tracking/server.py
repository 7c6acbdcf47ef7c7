"""Whether a tracking server is there."""

from __future__ import annotations

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
            f"the tracking server {uri} does not answer ({reason}); start it, or set track.uri or MLFLOW_TRACKING_URI"
        ) from error
