"""The summary of a finished run, from its curve."""

from typing import Any

from workflow_scripts.pretrain.history import NOT_TERMS, rounded
from workflow_scripts.pretrain.run_digest import Identity
from workflow_scripts.shards.corpus import Corpus

_LAST_SHARE = 0.1


def last_means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean of the loss and of each of its terms over the last tenth of the steps.

    A line of the curve stands for the steps since the line before it.
    """
    begin = (1 - _LAST_SHARE) * rows[-1]["step"]
    sums: dict[str, float] = {}
    total = before = 0
    for row in rows:
        steps, before = row["step"] - before, row["step"]
        if row["step"] <= begin and row is not rows[-1]:
            continue
        total += steps
        for name in {"loss", *row} - (NOT_TERMS - {"loss"}):
            sums[name] = sums.get(name, 0.0) + row[name] * steps
    return {name: rounded(value / total) for name, value in sorted(sums.items())}


def summary_of(
    rows: list[dict[str, Any]], *, identity: Identity, corpus: Corpus, run: str, parameters: int,
    encoder_parameters: int, steps: int, bad_steps: int,
) -> dict[str, Any]:  # fmt: skip
    """The body of `summary.json`.

    Args:
        rows: The run's curve.
        identity: What it is.
        corpus: What it was trained on.
        run: Its name.
        parameters: Trained ones, all.
        encoder_parameters: Numbers in the exported weights.
        steps: Done in all; the curve's last line is earlier if those behind it were all skipped.
        bad_steps: Of these, skipped since the loss or the gradient was not finite.
    """
    recipe, index = identity.recipe, corpus.index
    last = last_means(rows)
    return {
        "run": run,
        "objective": recipe["objective"],
        "synthetic": index["synthetic"],
        "parameters": parameters,
        "encoder_parameters": encoder_parameters,
        "steps": steps,
        "bad_steps": bad_steps,
        "epochs": recipe["epochs"],
        "batch": recipe["batch"],
        "samples_seen": steps * recipe["batch"],
        "samples_skipped": rows[-1].get("skipped", 0),
        "loss_first": rows[0]["loss"],
        "loss_last": last.pop("loss"),
        "terms_last": last,
        "corpus": {"name": index["corpus"], "content": index["content"], "count": len(corpus)},
        "run_digest": identity.run_digest,
    }
