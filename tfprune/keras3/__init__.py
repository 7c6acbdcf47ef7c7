"""Keras 3 models become tf_keras models and come back; `library.py` is the only importer of Keras 3.

Names are loaded on first use, as those of `tfprune` itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfprune.keras3.bridged import arrived, returned, stands_for
    from tfprune.keras3.convert import from_keras3, to_keras3
    from tfprune.keras3.files import opened, read, write, written_by_keras3
    from tfprune.keras3.library import is_keras3

_MODULES = {
    "arrived": "bridged",
    "from_keras3": "convert",
    "is_keras3": "library",
    "opened": "files",
    "read": "files",
    "returned": "bridged",
    "stands_for": "bridged",
    "to_keras3": "convert",
    "write": "files",
    "written_by_keras3": "files",
}

__all__ = [
    "arrived",
    "from_keras3",
    "is_keras3",
    "opened",
    "read",
    "returned",
    "stands_for",
    "to_keras3",
    "write",
    "written_by_keras3",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tfprune.keras3' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tfprune.keras3.{_MODULES[name]}"), name)
