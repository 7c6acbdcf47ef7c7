"""Everything `model.fit` needs to prune, to look at slices, and to record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfprune.backend import keras
from tfprune.errors import ModelError, SliceError
from tfprune.masking.fit import keep_masks_in_fit
from tfprune.masking.masked import masked_layers
from tfprune.masking.update import MaskUpdate
from tfprune.recipe import TrackSection
from tfprune.results import Evaluation
from tfprune.slices.define import parse_slices
from tfprune.slices.evaluate import answer, as_batches, score, slices_among
from tfprune.tracking.metrics import evaluation_metrics
from tfprune.tracking.store import Tracker


def callbacks(
    model: keras.Model,
    *,
    validation: Any = None,
    slices: Sequence[Any] = (),
    track: bool | str | TrackSection | None = None,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks for `model.fit` on a wrapped model; others may stand anywhere in the list.

    Args:
        model: made by `tfprune.wrap`.
        validation: arrays ``(x, y)`` or a batched tf.data.Dataset that repeats in the same order; evaluated
            whole and by slice after each epoch, against the model as it is when training begins.
        slices: ``"classes"``, ``{"rarest": share}``, ``{"hardest": share}``; rare is judged on `validation`.
        track: True records each epoch in MLflow (in the active run where there is one); a string is a
            tracking URI, a `TrackSection` names the experiment as well.

    Returns:
        A mask update, and with `validation` a slice report whose ``evaluations`` hold one
        `Evaluation` an epoch.

    Raises:
        ModelError: the model is not wrapped.
        SliceError: slices or track without validation data, or unknown slices.
        TrackingError: the store does not answer.

    Example:
        >>> import tfprune
        >>> from tfprune.backend import keras
        >>> dense = keras.Sequential([keras.layers.Dense(10, input_shape=(20,))])
        >>> pruned = tfprune.wrap(dense, tfprune.PolynomialDecay(final_sparsity=0.8, end_step=50))
        >>> [type(each).__name__ for each in tfprune.callbacks(pruned)]
        ['MaskUpdate']
    """
    if not masked_layers(model):
        raise ModelError(f"model {model.name!r} carries no masks; wrap it first: tfprune.wrap(model, schedule)")
    specs = parse_slices(slices)
    if validation is None and (specs or track):
        raise SliceError("slices and track need validation data: callbacks(model, validation=(x, y), ...)")
    keep_masks_in_fit(model)  # a model read from a file has a plain fit
    found: list[keras.callbacks.Callback] = [MaskUpdate()]
    if validation is not None:
        found.append(SliceReport(validation, specs, _tracker(track)))
    return found


class SliceReport(keras.callbacks.Callback):
    """Evaluates after each epoch, whole and by slice, in one pass.

    Attributes:
        baseline: the model as it was when training began.
        evaluations: one an epoch.
    """

    comes_first = True

    def __init__(self, validation: Any, specs: Sequence[Any], tracker: Tracker | None) -> None:
        super().__init__()
        self._batches = as_batches(validation)
        self._specs = specs
        self._tracker = tracker
        self.baseline: Evaluation | None = None
        self.evaluations: list[Evaluation] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._before = answer(self.model, self._batches)
        self._slices = slices_among(self._specs, self._before, "validation")
        self.baseline = score(self._before, self._slices)
        if self._tracker is not None:
            schedule = masked_layers(self.model)[0].schedule
            self._tracker.begin_fit(self.model.name, {f"schedule.{k}": v for k, v in schedule.get_config().items()})
            self._tracker.record_fit_epoch(0, evaluation_metrics(self.baseline))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs if logs is not None else {}
        evaluation = score(answer(self.model, self._batches), self._slices, self._before)
        self.evaluations.append(evaluation)
        worst = evaluation.worst
        if worst is not None and worst.drop is not None:
            logs["worst_slice_drop"] = worst.drop
        if self._tracker is not None:
            own = {
                f"finetune/{key}": value for key, value in logs.items() if key not in ("sparsity", "worst_slice_drop")
            }
            metrics = {**own, **evaluation_metrics(evaluation), "sparsity": logs.get("sparsity", 0.0)}
            self._tracker.record_fit_epoch(epoch + 1, metrics)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._tracker is not None:
            self._tracker.end_fit()


def _tracker(track: bool | str | TrackSection | None) -> Tracker | None:
    if not track:
        return None
    if isinstance(track, TrackSection):
        return Tracker(track)
    return Tracker(TrackSection(uri=track if isinstance(track, str) else None))
