"""Filters, neurons, heads and branches out of a model, which is built anew without them."""
