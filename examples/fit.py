"""Prune inside your own model.fit, and see the slices of the validation data after each epoch.

.venv/bin/python examples/fit.py
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tfprune
from tfprune.backend import keras


def main() -> keras.Model:
    """Train a small model, prune four fifths of it away, and return the plain result."""
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x_train, x_validation, y_train, y_validation = train_test_split(
        (x / 16).astype(np.float32), y, test_size=0.3, stratify=y, random_state=0
    )
    model = keras.Sequential([keras.layers.Dense(64, "relu", input_shape=(64,)), keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=20, verbose=0)

    steps = 10 * -(-len(x_train) // 32)
    pruned = tfprune.wrap(model, tfprune.PolynomialDecay(final_sparsity=0.8, end_step=steps // 2, frequency=10))
    pruned.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = tfprune.callbacks(pruned, validation=(x_validation, y_validation), slices=["classes", {"hardest": 0.1}])
    pruned.fit(x_train, y_train, epochs=10, callbacks=callbacks, verbose=0)

    report = callbacks[-1]
    print(f"dense: {report.baseline.accuracy:.1%}, pruned: {report.evaluations[-1].accuracy:.1%}")
    for each in report.evaluations[-1].slices:
        print(f"{each.name:10} {each.accuracy:6.1%} of {each.support:3}, change {-100 * each.drop + 0.0:+.1f} points")
    plain = tfprune.strip(pruned)
    print(f"{tfprune.measure(plain).sparsity:.1%} of the prunable weights are zero")
    return plain


if __name__ == "__main__":
    main()
