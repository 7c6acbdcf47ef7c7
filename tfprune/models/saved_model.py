"""SavedModel folders that others wrote: their graphs and descriptions, looked at before TensorFlow loads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from tfprune.backend import keras, tf
from tfprune.errors import ModelError
from tfprune.models.trust import WHEN_TRUSTED, objection, read_json
from tfprune.storage.archives import leads_out

LARGEST_GRAPH = 64 * 2**20
"""Bytes of graphs; the weights lie in files of their own."""

# What reads or writes files, runs Python, reports to other machines, or loads code. Saving and restoring the weights
# themselves takes SaveV2, RestoreV2 and MergeV2Checkpoints, which every SavedModel has.
_REACHING_OUT = re.compile(
    r"ReadFile|WriteFile|MatchingFiles|PrintV2|Print|PyFunc.*|EagerPyFunc|.*SummaryWriter|.*SummaryDatabaseWriter"
    r"|Write\w*Summary|Debug\w*|\w*Reader(V2)?|\w*(TextLine|TFRecord|FixedLengthRecord|Csv|SSTable|Lmdb|Sql)Dataset\w*"
    r"|GeneratorDataset|(Save|Load|Snapshot)Dataset\w*|DatasetToTFRecord|\w*DataService\w*|Snapshot\w*"
    r"|Save|SaveSlices|Restore|RestoreSlice|InitializeTableFromTextFile|FileSystemSetConfiguration|Rpc\w*|TryRpc"
    r"|Xla(Launch|CustomCall)\w*|RegisterDataset\w*|RemoteCall|\w*CompileAndExecute|LookupTableExport\w*"
    r"|FixedUnigramCandidateSampler"
)


def check_saved_model(folder: Path, *, trust: bool) -> bool:
    """Check a SavedModel before it is loaded.

    Args:
        folder: of the SavedModel.
        trust: whether layers of code, and operations that read or write files, are let through.

    Returns:
        Whether its training state, too, may be built.

    Raises:
        ModelError: damaged, too large to be meant, or not let through; names the layer or the operation.
    """
    meta = _graphs(folder)
    for graph in meta:
        for asset in graph.asset_file_def:
            if leads_out(asset.filename):
                raise ModelError(f"{folder}: an asset {asset.filename[:60]!r}, which leads out of the folder")
    if trust:
        return True
    for graph in meta:
        for node in _nodes(graph):
            if _REACHING_OUT.fullmatch(node.op):
                raise ModelError(
                    f"{folder}: its graph holds {node.op} ({node.name[:60]}), which reaches out of the model; "
                    f"{WHEN_TRUSTED}"
                )
    compiles = True
    for text in _descriptions(folder, meta):
        about, problem = read_json(text)
        training = about.pop("training_config", None) if about else None
        if problem := problem or objection(about):
            raise ModelError(f"{folder}: {problem}")
        compiles = compiles and not objection(training)
    return compiles


def held_bytes(folder: Path) -> int:
    """Bytes of weights in a SavedModel."""
    return sum(each.stat().st_size for each in (folder / "variables").glob("*") if each.is_file())


def _graphs(folder: Path) -> list[Any]:
    size = (folder / "saved_model.pb").stat().st_size
    if size > LARGEST_GRAPH:
        raise ModelError(f"{folder}: saved_model.pb is {size} bytes long, of which {LARGEST_GRAPH} are plausible")
    try:
        graphs = list(tf.__internal__.saved_model.parse_saved_model(str(folder)).meta_graphs)
    except Exception as error:  # protobuf raises one type by the other, by the way it was built
        raise ModelError(f"{folder}: damaged or not a model: its saved_model.pb cannot be read") from error
    if not graphs:
        raise ModelError(f"{folder}: damaged or not a model: its saved_model.pb holds no graph")
    return graphs


def _nodes(graph: Any) -> Iterator[Any]:
    functions = (function.node_def for function in graph.graph_def.library.function)
    return chain(graph.graph_def.node, *functions)


def _descriptions(folder: Path, meta: list[Any]) -> Iterator[str]:
    """What Keras builds layers from: in a file of its own, or in the graph where an old Keras wrote it."""
    file = folder / "keras_metadata.pb"
    if not file.is_file():
        for graph in meta:
            for node in graph.object_graph_def.nodes:
                if node.user_object.metadata:
                    yield node.user_object.metadata
        return
    if file.stat().st_size > LARGEST_GRAPH:
        raise ModelError(f"{folder}: keras_metadata.pb is {file.stat().st_size} bytes long")
    metadata = keras.protobuf.saved_metadata_pb2.SavedMetadata()
    try:
        metadata.ParseFromString(file.read_bytes())
    except Exception as error:
        raise ModelError(f"{folder}: damaged: its keras_metadata.pb cannot be read") from error
    for node in metadata.nodes:
        yield node.metadata
