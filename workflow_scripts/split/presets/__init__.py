"""Splits by the fractions that papers used, by name, each with its source.

A package of its own: the table is no part of what the stage `split` computes, which gets the
fractions in its recipe.
"""

import difflib
import functools
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.splits import check_fractions

_FILE = Path(__file__).with_name("presets.yaml")
_KEYS = {"dataset", "train", "test", "seeds", "papers", "note"}


@functools.cache
def presets() -> dict[str, dict[str, Any]]:
    """All presets by name: `dataset`, `train`, `test`, `seeds`, `papers` and `note`.

    Raises:
        UserError: The table has an entry that cannot be used.
    """
    table: dict[str, dict[str, Any]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    for name, entry in table.items():
        if set(entry) != _KEYS:
            raise UserError(f"{_FILE}: {name} has {sorted(entry)}, expected {sorted(_KEYS)}")
        check_fractions({side: entry[side] for side in ("train", "test")})
        if not (entry["train"] > 0 and entry["test"] > 0 and entry["seeds"]):
            raise UserError(f"{_FILE}: {name} needs shares above 0 and a seed")
        for paper in entry["papers"]:
            if set(paper) != {"title", "link"}:
                raise UserError(f"{_FILE}: {name}: a paper has a title and a link, see {paper}")
    return table


def preset(name: str) -> dict[str, Any]:
    """What a preset stands for: the `split` of a recipe, and of a benchmark in the config.

    Raises:
        UserError: There is none of that name; names the nearest.
    """
    known = presets()
    if name not in known:
        close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"no split is called {name!r}, known are {', '.join(known)}{hint}")
    entry = known[name]
    return {
        "by": "fraction",
        "train": entry["train"],
        "val": 0.0,
        "test": entry["test"],
        "seeds": list(entry["seeds"]),
        "stratified": True,
    }
