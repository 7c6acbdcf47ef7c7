"""The MLflow UI as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tfprune.errors import TrackingError
from tfprune.recipe import TrackSection
from tfprune.tracking.recorded import Recorded
from tfprune.tracking.store import tracking_uri
from tfprune.tracking.view import VIEW_TAG, VIEWS, saved_views


@dataclass(frozen=True)
class UiServer:
    """A running MLflow UI.

    Attributes:
        links: to the saved views of the experiment, ``rounds`` and ``workflows``, as far as the store took them, and
            to its bare ``runs``.
        process: ends with the `serve_ui` context.
    """

    links: Mapping[str, str]
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """The best first look: the rounds side by side, or the bare runs where no view could be saved."""
        return next(iter(self.links.values()))


@contextmanager
def serve_ui(section: TrackSection, port: int = 5000) -> Iterator[UiServer]:
    """Start the MLflow UI on 127.0.0.1 and wait until it answers.

    Args:
        section: URI and experiment.
        port: 0 takes a free one.

    Raises:
        TrackingError: nothing is recorded, the port is taken, or the server ends at once.
    """
    recorded = Recorded(section)
    port = _free_port(port)
    # Now rather than after each workflow, so that the views know all that is recorded, older workflows too.
    views = recorded.save_views(saved_views)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri(section)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with subprocess.Popen(
        command,
        env={**os.environ, **quiet},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process)
            yield UiServer(_links(f"http://127.0.0.1:{port}", recorded.experiment_id, views), process)
        finally:
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.killpg(process.pid, signal.SIGTERM)  # the server and its worker


def _links(base: str, experiment: str, saved: Mapping[str, str]) -> dict[str, str]:
    """Links by the view's name, the best first look first; the runs themselves are there without any view."""
    runs = f"{base}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    found = [view for view in VIEWS if f"{VIEW_TAG}{view}" in saved]
    return {**{view: f"{runs}&compareRunsMode=CHART&viewStateShareKey={view}" for view in found}, "runs": runs}


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise TrackingError(
                f"port {port} on 127.0.0.1 is taken; choose another with --port, or --port 0"
            ) from error
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise TrackingError(f"the MLflow UI ended at once with exit code {process.returncode}; try: mlflow ui")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise TrackingError(f"the MLflow UI did not answer within {seconds:.0f} s at {url}")
