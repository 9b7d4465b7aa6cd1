"""What a strategy holds beside the tensors of the two passes, piece by piece.

The order of events is that of `fully_shard` and of DistributedDataParallel as `pretrain.parallel`
applies them, in PyTorch 2.10 to 2.15.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn

from workflow_scripts.objectives.base import Objective
from workflow_scripts.objectives.gfm import Gfm
from workflow_scripts.plan.trace import ROOT, Piece

Terms = dict[str, int]  # bytes by what they are for

PARAMETERS = "parameters, float32"
MOMENTS = "optimizer's moments, float32"
GRADIENTS = "gradients, float32"
COPIES = "whole working copies of blocks"
BUFFERS = "buffers of messages"
FROZEN = "frozen teacher, float32"
ACTIVATIONS = "batch and activations saved"
TEMPORARIES = "temporaries of the piece"
ORDER = (PARAMETERS, MOMENTS, GRADIENTS, COPIES, BUFFERS, FROZEN, ACTIVATIONS, TEMPORARIES)

_FLOAT32 = 4
_MOMENTS = 2 * _FLOAT32


@dataclass(frozen=True)
class Moment:
    """A time in a step and what is alive then."""

    when: str
    terms: Terms

    @property
    def total(self) -> int:
        """All of it, bytes."""
        return sum(self.terms.values())


@dataclass(frozen=True)
class Sizes:
    """Numbers that a model trains: in each block, and in all that belongs to none.

    Args:
        whole: By unit, as gathered over the shards: padded to a multiple of them.
        part: By unit, what one rank of the shards keeps.
        frozen: Bytes of GFM's teacher, which every rank has whole.
    """

    whole: dict[int, int]
    part: dict[int, int]
    frozen: int

    @property
    def kept(self) -> int:
        """Numbers that one rank keeps."""
        return sum(self.part.values())


def sizes(objective: Objective, shards: int, *, flat: bool = False) -> Sizes:
    """Sizes of an objective whose parameters are cut along their first dimension.

    Args:
        objective: On any device.
        shards: Over how many ranks.
        flat: The parameters of a unit are one row of numbers and cut so, as the older
            FullyShardedDataParallel did: nothing is padded but the row.
    """
    units: dict[int, list[nn.Parameter]] = {}
    seen: set[int] = set()
    for unit, block in enumerate(objective.wrap_blocks()):
        units[unit] = [p for p in block.parameters() if p.requires_grad]
        seen |= {id(p) for p in units[unit]}
    units[ROOT] = [p for p in objective.parameters() if p.requires_grad and id(p) not in seen]
    if flat:
        rows = {unit: sum(p.numel() for p in group) for unit, group in units.items()}
        part = {unit: math.ceil(count / shards) for unit, count in rows.items()}
    else:
        part = {unit: sum(_part(p, shards) for p in group) for unit, group in units.items()}
    frozen = 0
    if isinstance(objective, Gfm):
        held = (*objective.teacher.parameters(), *objective.teacher.buffers())
        frozen = sum(tensor.nbytes for tensor in held)
    return Sizes({unit: shards * count for unit, count in part.items()}, part, frozen)


def _part(parameter: nn.Parameter, shards: int) -> int:
    first, *rest = parameter.shape or (1,)
    return math.ceil(first / shards) * math.prod(rest)


def _of_pass(piece: Piece) -> Terms:
    """A piece's own tensors, less gradients that were there before it."""
    return {
        ACTIVATIONS: piece.start.total - piece.start.gradients,
        TEMPORARIES: piece.peak.total - piece.start.total,
    }


def _name(piece: Piece) -> str:
    where = "between blocks" if piece.unit == ROOT else f"of block {piece.unit + 1}"
    return f"{'backward' if piece.backward else 'forward'} pass {where}"


def replicated(pieces: Iterable[Piece], model: Sizes, *, gradients_wait: bool) -> Iterator[Moment]:
    """Every rank holds everything: `ddp`, and a single rank whatever its strategy.

    Args:
        pieces: Of passes on float32 parameters.
        model: Cut over one rank.
        gradients_wait: Whether gradients have their memory all the time: in DDP's buckets, or
            from the part of the batch before. The pieces' own then leave at once.
    """
    held, whole = _static(model), _FLOAT32 * model.kept
    for piece in pieces:
        gradients = whole if gradients_wait else piece.start.gradients
        yield Moment(_name(piece), held | {GRADIENTS: gradients} | _of_pass(piece))
    yield Moment("optimizer's step", held | {GRADIENTS: whole})


def _static(model: Sizes) -> Terms:
    kept = model.kept
    return {PARAMETERS: _FLOAT32 * kept, MOMENTS: _MOMENTS * kept, FROZEN: model.frozen}


def sharded(
    pieces: Iterable[Piece], model: Sizes, *, width: int, reshard: bool, accumulating: bool
) -> Iterator[Moment]:
    """`fully_shard` of each block and of the root.

    Args:
        pieces: Of passes on parameters of the gathered type; a block's gradients leave with it.
        model: Cut over the strategy's shards.
        width: Bytes of a number in a gathered parameter.
        reshard: Whether gathered blocks are freed after their forward pass.
        accumulating: Whether sharded gradients are there from the part of the batch before.
    """
    alone = model.whole == model.part  # one shard: nothing is gathered, parameters are copied
    blocks = len(model.whole) - 1
    held, grads = _static(model), {u: _FLOAT32 * n for u, n in model.part.items()}

    def moment(when: str, gathered: Iterable[int], buffers: int, own: Terms, done: int) -> Moment:
        finished = sum(grads.values()) if accumulating else sum(
            grads[unit] for unit in range(blocks - done, blocks)
        )  # fmt: skip
        # Copies that stay whole for the backward pass stay so from one part to the next.
        everything = accumulating and not reshard
        copies = width * sum(model.whole[u] for u in (model.whole if everything else gathered))
        return Moment(when, held | {GRADIENTS: finished, COPIES: copies, BUFFERS: buffers} | own)

    def message(unit: int) -> int:
        """The flat buffer that a unit is gathered into."""
        return 0 if alone else width * model.whole[unit]

    for piece in pieces:
        own, name, done = _of_pass(piece), _name(piece), piece.done
        own[ACTIVATIONS] += piece.start.gradients  # the root's: float32 only when they are reduced
        if not piece.backward:
            before = done - 1 if done else ROOT
            ahead = [] if reshard else list(range(done))
            if piece.unit == ROOT:
                yield moment(name, [ROOT, *ahead], message(before), own, 0)
                continue
            # Its parameters arrive while the buffer of those before is still there.
            arriving = {ACTIVATIONS: own[ACTIVATIONS]}
            both = message(before) + message(piece.unit)
            yield moment(f"gather {name}", [ROOT, *ahead], both, arriving, 0)
            yield moment(name, [ROOT, *ahead, piece.unit], message(piece.unit), own, 0)
            continue
        # The next block is being gathered, and the gradients of the last one are still being sent.
        following = blocks - 1 - done - (piece.unit != ROOT)
        early = message(following) if reshard and following >= 0 else 0
        sent = _FLOAT32 * model.whole[blocks - done] if done else 0
        left = [] if reshard else list(range(blocks - done - (piece.unit != ROOT)))
        current = [] if piece.unit == ROOT else [piece.unit]
        yield moment(name, [ROOT, *left, *current], early + sent, own, done)
        last = piece.unit == ROOT and done == blocks
        if piece.unit != ROOT or last:
            unit = piece.unit
            finished = {ACTIVATIONS: piece.end.total, TEMPORARIES: 0}
            buffers = early + _FLOAT32 * model.whole[unit] + grads[unit]
            gathered = [] if last else [ROOT, *left]
            yield moment(f"reduction after {name}", gathered, buffers, finished, done)
    yield Moment("optimizer's step", held | {GRADIENTS: sum(grads.values())})
