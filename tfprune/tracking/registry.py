"""The best model of a workflow as a version in MLflow's registry."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from tfprune.recipe import TrackSection
from tfprune.results import RunResult


def may_register(section: TrackSection, result: RunResult) -> bool:
    """Whether a recipe wants a registered model and the workflow kept its promises with a pruned one."""
    return section.register_as is not None and result.target_met and result.best > 0


def register(client: Any, section: TrackSection, logged: Any, result: RunResult, note: str) -> str:
    """Make a logged model a version of the registered model, unless it is one, and let it bear the alias.

    Args:
        client: of MLflow.
        section: name and alias.
        logged: the logged model of the best round.
        result: of the workflow.
        note: Markdown; what stands before its first table or picture describes the version.

    Returns:
        The version's number.
    """
    name, run_id = section.register_as, logged.source_run_id
    _make(client, name)
    known = client.search_model_versions(f"run_id = '{run_id}'")
    version = next((each.version for each in known if each.name == name), None)
    if version is None:
        lines = takewhile(lambda line: not line.startswith(("|", "!")), note.splitlines())
        made = client.create_model_version(
            name,
            # Not the URI of the logged model: MLflow would look it up in the store that the caller's process uses.
            logged.artifact_location,
            run_id,
            tags={"tfprune.workflow": result.workflow, "tfprune.round": result.best_round.label},
            description="\n".join(lines).strip()[:5000],
            model_id=logged.model_id,
        )
        version = made.version
    client.set_registered_model_alias(name, section.alias, version)
    return str(version)


def _make(client: Any, name: str | None) -> None:
    """Make the registered model unless it is there; another process may make it at the same time."""
    try:
        client.create_registered_model(name)
    except Exception as error:
        if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
            raise
        client.get_registered_model(name)  # raises where not a model but a prompt has the name
