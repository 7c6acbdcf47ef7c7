"""What holds for every test."""

from __future__ import annotations

import os

import tfprune  # noqa: F401 - chooses tf_keras before a test imports TensorFlow

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests record in homes of their own, whatever the shell says.
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("TFPRUNE_HOME", None)
