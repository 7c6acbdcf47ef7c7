"""A file for a device or a server, checked before it is there."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from tfprune.cli.app import AsJson, NoCode, Trust, Uri, app, err, out, print_json


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="A model file, a finished workflow such as digits-1, or a runs:/ or models:/ URI.")
    ],
    path: Annotated[Path, typer.Option("-o", "--output", help="The file: .tflite, .onnx, .keras, or a folder.")],
    to: Annotated[
        str | None, typer.Option(help="litert, onnx, savedmodel, keras or keras3, where the ending does not tell.")
    ] = None,
    quantize: Annotated[str, typer.Option(help="none, float16, dynamic (int8 weights) or int8.")] = "none",
    data: Annotated[
        str | None,
        typer.Option(help="A recipe or a .npz file to check the file on; a workflow has its own, else it is random."),
    ] = None,
    split: Annotated[str, typer.Option(help="Of a recipe's data: validation, test or train.")] = "validation",
    slices: Annotated[
        list[str] | None, typer.Option(help="As tfprune evaluate takes them; may be repeated. By default classes.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="For int8: a recipe, whose training part is meant, or a .npz file; by default --data."),
    ] = None,
    calibration_examples: Annotated[int, typer.Option(help="How many of them.", min=1)] = 300,
    qat_epochs: Annotated[
        int,
        typer.Option(
            help="Epochs of training with fake quantization where int8 loses too much without; 0: none.", min=0
        ),
    ] = 0,
    integer_io: Annotated[
        bool, typer.Option("--integer-io", help="int8 inputs and outputs, nothing in float.")
    ] = False,
    sparse: Annotated[bool, typer.Option("--sparse", help="Encode zeros sparsely where that loads and helps.")] = False,
    select_ops: Annotated[
        bool, typer.Option("--select-ops", help="TensorFlow's own kernels for operations that LiteRT lacks.")
    ] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="Write classes and normalization of the recipe's data into the file.")
    ] = False,
    agreement: Annotated[
        float | None, typer.Option(help="Least share of the examples with the Keras model's answer.")
    ] = None,
    difference: Annotated[
        float | None, typer.Option(help="Greatest difference as a share of the range, where nothing is a class.")
    ] = None,
    size_mb: Annotated[float | None, typer.Option(help="Budget of the file, in MB of 1,000,000 bytes.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Budget of one example on this machine.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    uri: Uri = None,
    trust: Trust = False,
    no_code: NoCode = False,
    as_json: AsJson = False,
) -> None:
    """Export a model to LiteRT, ONNX, SavedModel or Keras; where it breaks a promise, exit code 1 and no file.

    Example: tfprune export digits-1 -o digits.tflite --quantize int8

    Example: tfprune export small.keras -o small.onnx --data mine.npz
    """
    from tfprune.deploy.choices import Choices, check_place

    asked: Any = {"to": to, "quantize": quantize}
    choices = Choices(
        **asked,
        integer_io=integer_io,
        sparse=sparse,
        select_ops=select_ops,
        agreement=agreement,
        difference=difference,
        size_mb=size_mb,
        latency_ms=latency_ms,
        force=force,
    )
    check_place(path, choices.format_of(path), force)  # before TensorFlow is loaded, which takes seconds
    from tfprune.report.export import export_table
    from tfprune.rounds.exporting import Examples, export_to, source_at

    examples = Examples(data, split, slices or (), calibration, calibration_examples, qat_epochs)
    with nullcontext() if as_json else err.status("exporting, and checking the file"):
        report = export_to(source_at(model, uri), path, choices, examples, labels=labels)
    if as_json:
        print_json(report)
    else:
        out.print(export_table(report))
        out.print(f"exported: {path}", soft_wrap=True, markup=False)
