"""Where pretrained weights come from: a local file, or the Hugging Face hub by timm's name.

The hub is asked by its own client, which honours HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and the
proxies of the environment. A token is taken from HF_TOKEN alone. A job of a Slurm
profile asks no hub: there the client's cache alone counts.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RemoteEntryNotFoundError
from huggingface_hub.utils import disable_progress_bars

from workflow_scripts import slurm
from workflow_scripts.errors import UserError
from workflow_scripts.logs import log

# In the order in which they are looked for; the second is a PyTorch file.
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of weights.

    Attributes:
        path: Where it lies.
        name: What it is called where it comes from, without the folders of this machine.
        revision: The hub's commit; None for a local file.
    """

    path: Path
    name: str
    revision: str | None = None


def find_source(recipe: dict[str, Any], pretrained: dict[str, Any], *, place: Path) -> Source:
    """The file of a recipe's weights, downloaded if the recipe names none.

    Args:
        recipe: `weights` (the entry's name), `architecture` and `file`.
        pretrained: timm's `pretrained_cfg` of the architecture.
        place: Where a file fetched by hand may be put, for the advice in an error.

    Raises:
        UserError: The file is missing, timm knows no weights of that name, the hub does not answer,
            or this is a job of a Slurm profile; tells which file to get, where to put it and the
            line of the configuration.
    """
    name = recipe["weights"]
    if recipe["file"]:
        path = Path(recipe["file"])
        if not path.is_file():
            raise UserError(f"weights.{name}.file: {path} is no file; put the weights there")
        return Source(path=path, name=path.name)
    repository = pretrained.get("hf_hub_id")
    if not repository:
        raise UserError(
            f"weights.{name}: timm knows no published weights of {recipe['architecture']!r}; add "
            f"the tag of some to the name, or set weights.{name}.file to a file of weights"
        )
    try:
        file = pretrained.get("hf_hub_filename")
        names = (file,) if file else HUB_FILES
        get = _cached if slurm.is_job() else _download
        path = get(repository, names)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(_by_hand(name, repository, place, error)) from error
    return Source(path=path, name=f"{repository}/{path.name}", revision=_revision(path))


def _cached(repository: str, names: Sequence[str]) -> Path:
    """The first of some files that the client's cache has; even its offline ways ask the hub."""
    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    raise LocalEntryNotFoundError(
        "jobs on Slurm download nothing, and the client's cache "
        f"{constants.HF_HUB_CACHE} has no such file"
    )


def _download(repository: str, names: Sequence[str]) -> Path:
    disable_progress_bars()
    log.info("asking the Hugging Face hub for %s", repository)
    *first, last = names
    token = os.environ.get("HF_TOKEN") or False
    for name in first:
        try:
            return Path(hf_hub_download(repository, name, token=token))
        except RemoteEntryNotFoundError:
            log.info("%s has no %s", repository, name)
    return Path(hf_hub_download(repository, last, token=token))


def _revision(path: Path) -> str | None:
    """The commit of a file in the hub's cache, `snapshots/<commit>/<file>`."""
    return path.parent.name if path.parent.parent.name == "snapshots" else None


def _by_hand(name: str, repository: str, place: Path, error: Exception) -> str:
    cause = (str(error).strip() or type(error).__name__).splitlines()[0]
    address = f"{constants.ENDPOINT}/{repository}/resolve/main/{HUB_FILES[0]}"
    return (
        f"weights.{name}: {repository} cannot be had from the Hugging Face hub ({cause}).\n"
        "Start again where there is network, in this folder:\n"
        "  snakemake --profile profiles/local-fetch fetch_all\n"
        f"or get\n  {address}\n"
        f"by other means, put it at {place} and say so in the configuration:\n"
        f"  weights: {{{name}: {{file: {place}}}}}"
    )
