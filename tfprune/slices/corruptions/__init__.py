"""Inputs made harder on purpose: corruptions of images, texts and tables in five severities.

The idea is Hendrycks and Dietterich's (2019, arXiv 1903.12261); levels and code are our own. ``kinds`` knows which
corruption is for which data, ``scale`` what clean data looks like, ``apply`` does it.
"""

from tfprune.slices.corruptions.apply import SEVERITIES, corrupt
from tfprune.slices.corruptions.kinds import KINDS, NAMES, check, kind_of
from tfprune.slices.corruptions.scale import Scale, scale_of

__all__ = ["KINDS", "NAMES", "SEVERITIES", "Scale", "check", "corrupt", "kind_of", "scale_of"]
