"""Masks that hold weights at zero: which weights, when, and how Keras layers carry them."""
