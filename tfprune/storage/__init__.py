"""Files and folders that are there whole or not at all."""

from __future__ import annotations

from tfprune.storage.files import home, replacing, sweep, write_text

__all__ = ["home", "replacing", "sweep", "write_text"]
