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
from tfprune.slices.answers import Question
from tfprune.slices.evaluate import as_batches, examine
from tfprune.slices.exam import Examination
from tfprune.slices.tasks import check_task
from tfprune.tracking.fits import FitTracker
from tfprune.tracking.metrics import evaluation_metrics


def callbacks(
    model: keras.Model,
    *,
    validation: Any = None,
    slices: Sequence[Any] = (),
    metadata: Any = None,
    classes: Sequence[str] = (),
    task: str | None = None,
    output: str | None = None,
    min_support: int = 20,
    track: bool | str | TrackSection | None = None,
) -> list[keras.callbacks.Callback]:
    """Return the callbacks for `model.fit` on a wrapped model; others may stand anywhere in the list.

    Args:
        model: made by `tfprune.wrap`.
        validation: arrays ``(x, y)`` or a batched tf.data.Dataset that repeats in the same order; evaluated
            whole and by slice after each epoch, against the model as it is when training begins.
        slices: as `tfprune.evaluate` takes them; rare is judged on `validation`.
        metadata: columns of `validation` by name, for slices by column.
        classes: names of the classes.
        task: see `tfprune.evaluate`.
        output: name of one of several outputs, which is looked at.
        min_support: slices with fewer examples are shown, but are nobody's worst.
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
    if validation is None and (slices or track):
        raise SliceError("slices and track need validation data: callbacks(model, validation=(x, y), ...)")
    keep_masks_in_fit(model)  # a model read from a file has a plain fit
    found: list[keras.callbacks.Callback] = [MaskUpdate()]
    if validation is not None:
        question = Question(check_task(task), output)
        batches = as_batches(validation)
        exam = examine(
            batches,
            slices,
            split="validation",
            metadata=metadata,
            question=question,
            classes=classes,
            min_support=min_support,
        )
        found.append(SliceReport(exam, _tracker(track)))
    return found


class SliceReport(keras.callbacks.Callback):
    """Evaluates after each epoch, whole and by slice, in one pass.

    Attributes:
        baseline: the model as it was when training began.
        evaluations: one an epoch.
    """

    comes_first = True

    def __init__(self, exam: Examination, tracker: FitTracker | None) -> None:
        super().__init__()
        self._exam = exam
        self._tracker = tracker
        self.baseline: Evaluation | None = None
        self.evaluations: list[Evaluation] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        before = self._exam.sit(self.model)
        self._exam.compare_with(before)
        self.baseline = self._exam.evaluate(before)
        if self._tracker is not None:
            schedule = masked_layers(self.model)[0].schedule
            self._tracker.begin(self.model.name, {f"schedule.{k}": v for k, v in schedule.get_config().items()})
            self._tracker.record_epoch(0, evaluation_metrics(self.baseline))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs if logs is not None else {}
        evaluation = self._exam.evaluate(self._exam.sit(self.model))
        self.evaluations.append(evaluation)
        worst = evaluation.worst
        if worst is not None and worst.drop is not None:
            logs["worst_slice_drop"] = worst.drop
        if self._tracker is not None:
            own = {
                f"finetune/{key}": value for key, value in logs.items() if key not in ("sparsity", "worst_slice_drop")
            }
            metrics = {**own, **evaluation_metrics(evaluation), "sparsity": logs.get("sparsity", 0.0)}
            self._tracker.record_epoch(epoch + 1, metrics)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._tracker is not None:
            self._tracker.end()


def _tracker(track: bool | str | TrackSection | None) -> FitTracker | None:
    if not track:
        return None
    if isinstance(track, TrackSection):
        return FitTracker(track)
    return FitTracker(TrackSection(uri=track if isinstance(track, str) else None))
