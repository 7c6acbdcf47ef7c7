"""Rounds on record: what is measured, where it is kept, and how it is looked at."""
