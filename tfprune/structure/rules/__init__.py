"""What every layer does with channels; importing this registers the rules."""

from tfprune.structure.rules import (  # noqa: F401
    attention,
    convolutions,
    dense,
    elementwise,
    normalization,
    operations,
    recurrent,
    shapes,
)
