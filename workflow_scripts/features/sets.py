"""The sets of features that a recipe asks for, each with the digest of all it is made from.

    trained               the encoder
    random-<seed>         the same architecture with random weights: the floor
    mean-colour           the mean of each channel of a sample: the floor of floors
    <one of the first two>/view-<number>    of the samples as training would show them

Sets of one digest are the same bytes, whichever result names them: benchmarks and runs share them.
"""

from dataclasses import asdict, dataclass
from typing import Any

from workflow_scripts.code_digest import code_digest
from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.features.encoder import stored_poolings
from workflow_scripts.features.samples import Views, missing_of
from workflow_scripts.features.store import COLOUR, TRAINED, view_name
from workflow_scripts.models.folder import content_of

# What of a card decides how an encoder is built and fed.
_BUILT = ("architecture", "kwargs", "channels", "image_size", "normalisation", "encoder")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One set.

    Attributes:
        name: As above.
        digest: Of all it is made from.
        encoder: `trained`, `random-<seed>` or `mean-colour`.
        seed: Of random weights; None for the others.
        views: Which view of the samples; None for the samples themselves.
    """

    name: str
    digest: str
    encoder: str
    seed: int | None = None
    views: Views | None = None


def check_recipe(recipe: dict[str, Any]) -> None:
    """Refuse what cannot be extracted.

    Raises:
        UserError: No or unknown poolings, no layer, seeds twice or below 0, or views of seeds that
            are not the recipe's.
    """
    stored_poolings(recipe["poolings"])
    if recipe["layers"] < 1:
        raise UserError(f"layers is {recipe['layers']}; use 1 or more")
    seeds, views = recipe["seeds"], recipe["views"]
    if len(set(seeds)) < len(seeds) or min(seeds, default=0) < 0:
        raise UserError(f"seeds is {seeds}; use whole numbers from 0 on, each once")
    if views["count"] and not set(views["seeds"]) <= set(seeds):
        raise UserError(
            f"views.seeds is {views['seeds']}, of which seeds {seeds} lacks some: views are made "
            "of encoders that are there"
        )


def wanted_sets(
    recipe: dict[str, Any], card: dict[str, Any], weights: str, *, of_used: dict[str, Any],
    of_trained: dict[str, Any], precision: str,
) -> list[Wanted]:  # fmt: skip
    """The sets of a recipe, those of one encoder together.

    Args:
        recipe: The stage's.
        card: The encoder's `model.json`.
        weights: Hexadecimal sha256 of its weights.
        of_used: What sets of all used samples depend on: `index`, `rows`, `image_size`.
        of_trained: The same of views, which are of training samples alone.
        precision: Of the encoder's products: `fp32` or `bf16`.
    """
    code = {"code": code_digest("features")}
    how = {"poolings": stored_poolings(recipe["poolings"]), "layers": recipe["layers"]}
    how |= {"precision": precision, **code}
    views = recipe["views"]
    shown: list[Views | None] = [None]
    shown += [Views(augment=views["augment"], number=n) for n in range(views["count"])]

    def of(encoder: str, made_from: dict[str, Any], seed: int | None = None) -> list[Wanted]:
        return [
            Wanted(
                name=encoder if view is None else view_name(encoder, view.number),
                digest=digest(
                    {**made_from, **how, **(of_trained if view else of_used),
                     "view": asdict(view) if view else None}
                ),
                encoder=encoder, seed=seed, views=view,
            )
            for view in (shown if seed is None or seed in views["seeds"] else [None])
        ]  # fmt: skip

    found = of(TRAINED, {"model": content_of(card, weights)})
    like = {key: card[key] for key in _BUILT}
    for seed in recipe["seeds"]:
        found += of(f"random-{seed}", {"like": like, "seed": seed}, seed)
    colour = digest({"colour": missing_of(card["normalisation"]), **of_used, **code})
    return [*found, Wanted(name=COLOUR, digest=colour, encoder=COLOUR)]
