"""Models: where they come from, how they are read and written, and which of their weights can be pruned."""
