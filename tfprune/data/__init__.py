"""Data: eight kinds of source, one shape of answer.

``load.load_data`` turns the data section of a recipe into ``splits.Data``. Sources that fit in memory go through
``arrays``, sources that do not through ``streams``; both share the rules for labels and splits in ``labels`` and
``assign``, and those for columns that travel with the examples in ``metadata`` and ``columns``.
"""
