"""Masks that an encoder cannot have, found in the configuration."""

from collections.abc import Iterator

from workflow_scripts.config_runs import MaeRun, RunBase, SimmimRun
from workflow_scripts.errors import UserError
from workflow_scripts.models.shapes import cells_masked, patches_kept


def impossible_mask(key: str, run: RunBase) -> Iterator[str]:
    """A mask that hides all of an image or nothing, or whose cells do not fit, a line each.

    Args:
        key: Where the run stands in the configuration.
        run: What is to be trained.
    """
    try:
        if isinstance(run, MaeRun):
            patches_kept(run.encoder.plain(), run.mask.ratio)
        elif isinstance(run, SimmimRun) and run.mask.patch <= run.encoder.image_size:
            cells_masked(run.encoder.plain(), run.mask.patch, run.mask.ratio)
    except UserError as error:
        yield f"{key}.mask.ratio: {error}"
    if not isinstance(run, SimmimRun):
        return
    if run.encoder.image_size % run.mask.patch:
        yield (
            f"{key}.mask.patch: {run.mask.patch} does not divide "
            f"encoder.image_size {run.encoder.image_size}"
        )
    if run.mask.patch % run.encoder.patch:
        yield (
            f"{key}.mask.patch: {run.mask.patch} is no multiple of "
            f"encoder.patch {run.encoder.patch}"
        )
