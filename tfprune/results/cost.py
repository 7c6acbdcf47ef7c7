"""What a model weighs and does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Runtime = Literal["litert", "tensorflow", "onnx"]
Delegate = Literal["xnnpack", "none"]


@dataclass(frozen=True)
class LayerCost:
    """What one layer holds and does.

    Attributes:
        name: with the names of the models around it, ``outer/inner/dense``.
        kind: the layer's class name.
        output_shape: without the batch axis; empty where unknown.
        parameters: all weights, trainable or not.
        nonzero: weights that are not zero.
        prunable: weights that masks may touch.
        zeros: zeros among the prunable ones.
        macs: multiply-accumulates for one example, dense.
        reason: why nothing in it can be pruned; empty where something can.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    nonzero: int
    prunable: int
    zeros: int
    macs: int
    reason: str = ""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run on this machine's CPU, inputs and outputs not copied.

    Attributes:
        median_ms: of the runs that count.
        p10_ms: a tenth of them took no longer.
        p90_ms: a tenth of them took longer.
        runs: how many counted, warm-up left out.
        threads: that could compute at the same time.
        batch: examples a run.
        runtime: ``litert``, ``tensorflow`` or ``onnx``.
        delegate: ``xnnpack``, where it computed what it could, or ``none``.
        noise: why the machine was too noisy to trust the figures, in one clause; empty where it was not.
        noisy: whether it was.
        spread: from `p10_ms` to `p90_ms`, as a share of the median.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int
    threads: int = 1
    batch: int = 1
    runtime: Runtime = "litert"
    delegate: Delegate = "xnnpack"
    noise: str = ""
    noisy: bool = field(init=False)
    spread: float = field(init=False)

    def __post_init__(self) -> None:
        # Fields, so that they stand in JSON; frozen values are set this way.
        object.__setattr__(self, "noisy", bool(self.noise))
        object.__setattr__(self, "spread", (self.p90_ms - self.p10_ms) / self.median_ms if self.median_ms else 0.0)


@dataclass(frozen=True)
class FileCost:
    """What a LiteRT file takes.

    Attributes:
        bytes: of the file.
        latency: of one run.
        arena_bytes: what LiteRT's planner lays out for all tensors that are no constants, its own kernels' scratch
            memory included, without a delegate; None where it does not tell.
        peak_memory: bytes by which a process grows, at most, that loads the file and runs it: weights, arena, and what
            the delegate makes of both; None where the system does not tell.
    """

    bytes: int
    latency: Latency
    arena_bytes: int | None
    peak_memory: int | None


@dataclass(frozen=True)
class Measurement:
    """What a model weighs and, where that was asked for, how long it takes.

    Attributes:
        parameters: all weights.
        nonzero: weights that are not zero.
        prunable: weights that masks may touch.
        zeros: zeros among the prunable ones.
        macs: multiply-accumulates for one example, as if dense.
        bytes: the weights in their own dtype.
        gzipped_bytes: the same after gzip, what a download or a flash image costs; None where that was left out.
        layers: layer by layer, in the order of the model.
        litert: latency as a float32 LiteRT file; None, as all that follows, where it was not asked for.
        tensorflow: latency as a traced `tf.function`.
        litert_bytes: of the float32 LiteRT file.
        arena_bytes: of this file, see `FileCost`.
        peak_memory: of this file, see `FileCost`.
    """

    parameters: int
    nonzero: int
    prunable: int
    zeros: int
    macs: int
    bytes: int
    gzipped_bytes: int | None
    layers: tuple[LayerCost, ...] = ()
    litert: Latency | None = None
    tensorflow: Latency | None = None
    litert_bytes: int | None = None
    arena_bytes: int | None = None
    peak_memory: int | None = None

    @property
    def sparsity(self) -> float:
        """Share of zeros among the prunable weights, in [0, 1]."""
        return self.zeros / self.prunable if self.prunable else 0.0

    @property
    def overall_sparsity(self) -> float:
        """Share of zeros among all weights, in [0, 1]."""
        return 1 - self.nonzero / self.parameters if self.parameters else 0.0
