"""A colour and a marker for each strategy, the same in every figure, told apart in grey print."""

from collections.abc import Iterable

from workflow_scripts.report.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SKY

_KNOWN = {
    "ddp": (ORANGE, "s"),
    "no_shard": (SKY, "D"),
    "hybrid_shard_1": (BLUE, "o"),
    "shard_grad_op": (PURPLE, "P"),
    "full_shard": (RED, "^"),
}
# Five colours and eight markers: forty hybrids before a pair comes again.
_HYBRID_COLOURS, _HYBRID_MARKERS = (GREEN, INK, GREY, "#7F4F24", "#4B3F8F"), "v<>dhp8*"
_HYBRID = "hybrid_shard_"


def _shards(strategy: str) -> int | None:
    rest = strategy.removeprefix(_HYBRID)
    return int(rest) if rest != strategy and rest.isdecimal() else None


def strategy_look(strategy: str | None) -> tuple[str, str]:
    """Colour and marker of a strategy; hybrids have their own, powers of two first."""
    if strategy in _KNOWN:
        return _KNOWN[strategy]
    shards = _shards(strategy or "") or 1
    power = shards.bit_length() - 1
    place = power - 1 if shards == 1 << power else 5 + shards
    return (
        _HYBRID_COLOURS[place % len(_HYBRID_COLOURS)],
        _HYBRID_MARKERS[place % len(_HYBRID_MARKERS)],
    )


def strategies_in_order(names: Iterable[str | None]) -> list[str]:
    """From the whole model on each rank to the most cut up: ddp, no_shard, hybrids, full_shard."""
    known = ["ddp", "no_shard", _HYBRID, "shard_grad_op", "full_shard"]

    def place(name: str) -> tuple[int, int, str]:
        shards = _shards(name)
        kind = _HYBRID if shards is not None else name
        return (known.index(kind) if kind in known else len(known), shards or 0, name)

    return sorted({name for name in names if name}, key=place)
