"""``python -m tfprune``."""

from tfprune.cli import main

main()
