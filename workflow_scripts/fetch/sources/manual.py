"""Datasets that a person has to get: what the stage says when they are missing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def instructions(
    dataset: str, raw: Path, *, how: str, files: Sequence[dict[str, Any]], manifest: Path | None
) -> str:
    """Where to get a dataset, where to put it, and the command to go on.

    Args:
        dataset: Its name in the config.
        raw: Its folder, `data/raw/<dataset>`.
        how: Where and how it can be had, of its source.
        files: What is looked for there: `name`, and `bytes`, `sha256` or `md5` where known. None:
            folders of images, or any archive.
        manifest: What this job makes; None where it is not known.
    """
    lines = [
        f"dataset {dataset}: it has to be fetched by hand, and nothing of it is at {raw}.",
        how.strip(),
    ]
    if files:
        lines.append("Put there, under these names:")
        lines.extend(f"  {raw / file['name']}{_known(file)}" for file in files)
    else:
        lines.append(f"Put it there: {raw}/<class>/<image>.")
    lines.append(f"Or set datasets.{dataset}.path to the folder or archive where it lies already.")
    lines.append(
        "Then go on with the same command" + (", or, with your --configfile:" if manifest else ".")
    )
    lines.append(f"  snakemake {manifest}" if manifest else "")
    return "\n".join(line for line in lines if line)


def _known(file: dict[str, Any]) -> str:
    told = [f"{file['bytes']:,} bytes"] if file.get("bytes") else []
    told += [f"{kind} {file[kind]}" for kind in ("sha256", "md5") if file.get(kind)]
    return f"  ({', '.join(told)})" if told else ""
