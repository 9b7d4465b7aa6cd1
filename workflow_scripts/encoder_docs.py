"""Write the table of named encoders into docs/encoders.md; a test fails on drift.

python -m workflow_scripts.encoder_docs
"""

import functools
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.config_check import ROOT
from workflow_scripts.config_encoders import named_encoder
from workflow_scripts.files import write_text
from workflow_scripts.models.encoders import build_encoder
from workflow_scripts.models.library import LIBRARY

PAGE = ROOT / "docs" / "encoders.md"
_START, _END = "<!-- table: python -m workflow_scripts.encoder_docs -->\n", "<!-- end -->\n"
_HEAD = [
    "| name | family | width | depth | heads | MLP | patch | window | image | bands | parameters "
    "| published | source |",
    "|---|---|---:|---|---|---:|---:|---:|---:|---:|---:|---|---|",
]


@functools.cache
def parameters(name: str) -> int:
    """Parameters of a named encoder without a head, counted on the meta device."""
    with torch.device("meta"):
        model = build_encoder(named_encoder(name).plain(), LIBRARY[name].channels)
    return sum(parameter.numel() for parameter in model.parameters())


def _row(name: str) -> str:
    row, encoder = LIBRARY[name], named_encoder(name).plain()

    def listed(key: str) -> str:
        return ", ".join(map(str, encoder[key]))

    family = encoder["family"]
    if encoder.get("gated"):
        family += ", gated"
    if period := encoder.get("extra_norm_period"):
        family += f", norm every {period}"
    cells: list[Any] = [
        f"`{name}`", family, encoder["width"], listed("depths"), listed("heads"),
        round(encoder["width"] * encoder["mlp_ratio"]), encoder["patch"],
        encoder["window"] or "–", encoder["image_size"], row.channels, f"{parameters(name):,}",
        row.published or "–", row.source + (f"; {row.note}" if row.note else ""),
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def with_table(page: str) -> str:
    """The page with its table made anew.

    Raises:
        ValueError: The page lacks the marks around the table.
    """
    before, rest = page.split(_START)
    _, after = rest.split(_END)
    table = "\n".join([*_HEAD, *map(_row, LIBRARY)])
    return f"{before}{_START}\n{table}\n\n{_END}{after}"


def main(page: Path = PAGE) -> None:
    """Write the page."""
    write_text(page, with_table(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
