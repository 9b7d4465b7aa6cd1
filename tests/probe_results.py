"""Results of probes in the form their stage writes, made by hand, for tests of what reads them."""

import numpy as np

SINGLE, SEVERAL = ("top1", "top5"), ("map_micro", "map_macro")


def spread(mean, step=0.5, count=3):
    """A metric of `count` trials, evenly spaced around its mean."""
    values = [mean + step * (place - (count - 1) / 2) for place in range(count)]
    deviation = float(np.std(values, ddof=1)) if count > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": deviation, "values": values}


def verdict(mean, classes, *, second=None, chosen=None, several=False, trials=3):
    """What a protocol found of one encoder: its first metric is `mean`, its second `second`."""
    names = SEVERAL if several else SINGLE
    other = min(100.0, mean + 20) if second is None else second
    chosen = chosen or {"strength": 0.1, "pooling": "mean", "normalisation": "standardize"}
    found = {
        names[0]: spread(mean, count=trials), names[1]: spread(other, count=trials),
        "per_class": {name: min(100.0, mean + place % 3) for place, name in enumerate(classes)},
        "chosen": [{"split": "dataset", "seed": seed, **chosen} for seed in range(trials)],
    }  # fmt: skip
    if not several:
        count = len(classes)
        wrong = np.random.default_rng(round(mean)).multinomial(
            round(20 * (1 - mean / 100)), np.full(count, 1 / count), size=count
        )
        found["confusion"] = (wrong + np.diag(20 - wrong.sum(axis=1))).tolist()
    return found


def protocol(mean, classes, *, random=25.0, colour=15.0, settings=None, **more):
    """A protocol's entry: the encoder, random weights and mean colour (None: not judged)."""
    judged = {"encoder": verdict(mean, classes, **more)}
    if random is not None:
        judged["random"] = verdict(random, classes, **more)
    if colour is not None:
        judged["mean-colour"] = verdict(colour, classes, **more)
    return {"settings": settings or {}, "judged": judged}


def result(
    encoder, benchmark, protocols, *, classes=("forest", "river", "sea"), several=False, **more
):
    """A whole result; `protocols` maps a name to a mean or to an entry made by `protocol`."""
    classes = list(classes)
    entries = {
        name: found
        if isinstance(found, dict)
        else protocol(found, classes, several=several, colour=None if name == "finetune" else 15.0)
        for name, found in protocols.items()
    }
    run, _, step = encoder.partition("@")
    return {
        "schema_version": 1, "stage": "probe", "recipe": {}, "digests": {"inputs": {}},
        "encoder": encoder, "run": run, "step": int(step) if step else None,
        "benchmark": benchmark, "synthetic": False, "image_size": 128, "layers": 6,
        "layer": "last 6 blocks, each after the final norm", "classes": classes,
        "multi_label": several, "seeds": [0, 1, 2],
        "splits": [
            {"name": "dataset", "digest": "e" * 64, "n_train": 1680, "n_test": 420,
             "overlap": {"train": 0, "test": 0}}
        ],
        "protocols": entries, **more,
    }  # fmt: skip
