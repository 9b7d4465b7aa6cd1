"""What a study's figures follow from: which of its settings have several values."""

from typing import Any

from workflow_scripts.config import Config
from workflow_scripts.scaling.words import IO
from workflow_scripts.studies import points


def study_shape(config: Config, study: str) -> dict[str, list[Any]]:
    """The values of each setting among a study's points, in their order.

    Returns:
        `modes`; `ranks`; `strategies`, of points of several ranks; `readers`, as [workers,
        prefetch] of points that only read; `patches`, `batches` and `ahead` of those that train.
    """
    found = points(config, study)
    trained = [one for one in found if one.mode != IO]

    def values(given: Any) -> list[Any]:
        return [value for value in dict.fromkeys(given) if value is not None]

    readers = values((one.workers, one.prefetch) for one in found if one.mode == IO)
    return {
        "modes": values(one.mode for one in found),
        "ranks": values(one.ranks for one in found),
        "strategies": values(one.strategy for one in trained if one.ranks > 1),
        "readers": [list(reader) for reader in readers],
        "patches": values(one.patch for one in trained),
        "batches": values(one.batch for one in trained),
        "ahead": values(one.gather_ahead for one in trained),
    }
