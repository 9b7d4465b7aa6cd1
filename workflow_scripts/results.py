"""The stamp every result JSON carries, and the provenance file beside it."""

from pathlib import Path
from typing import Any

from workflow_scripts.code_digest import code_digest
from workflow_scripts.digests import digest
from workflow_scripts.files import write_json
from workflow_scripts.provenance import provenance

SCHEMA_VERSION = 1


def stamp(stage: str, recipe: dict[str, Any], inputs: dict[str, str]) -> dict[str, Any]:
    """What identifies a result: its recipe and the digests of recipe, code and inputs.

    Args:
        stage: The stage's module below `workflow_scripts`, such as `pack`.
        recipe: The plain recipe the stage was given.
        inputs: Digest of each input by its role, such as `{"manifest:ucm": sha256}`.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "stage": stage,
        "recipe": recipe,
        "digests": {"recipe": digest(recipe), "code": code_digest(stage), "inputs": inputs},
    }


def provenance_path(result: Path) -> Path:
    """`index.json` → `index.provenance.json`."""
    return result.with_name(f"{result.stem}.provenance.json")


def write_result(
    path: Path, *, stamp: dict[str, Any], body: dict[str, Any], facts: dict[str, Any] | None = None
) -> None:
    """Write a result JSON (the same bytes from the same things) and its provenance beside it.

    Args:
        path: The result, `<name>.json`.
        stamp: What `stamp()` returned.
        body: The result's own keys; none may be one of the stamp's.
        facts: What differs from machine to machine (speeds, memory, ranks), for the provenance.
    """
    write_json(provenance_path(path), provenance(**(facts or {})))
    write_json(path, {**stamp, **body})
