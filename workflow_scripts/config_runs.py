"""Models of the configuration: objectives, optimisers and runs, with their defaults."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, model_validator

from workflow_scripts.config_base import Model, Name, Positive, Share
from workflow_scripts.config_encoders import Encoder, SwinEncoder, VitEncoder

Part = Annotated[float, Field(gt=0, lt=1)]

_ENCODER = (
    "the network kept after pretraining: its numbers, a name (`vit_base`), or a name with changes "
    "(`{name: vit_base, image_size: 128}`); see docs/encoders.md"
)


def _betas(pair: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= beta < 1 for beta in pair):
        raise ValueError(f"expected two numbers from 0 to below 1, not {list(pair)}")
    return pair


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 < pair[0] <= pair[1]:
        raise ValueError(f"expected two numbers above 0, the smaller first, not {list(pair)}")
    return pair


def _on_each_node(folder: str) -> str:
    if not folder.startswith(("/", "$")):
        raise ValueError(
            f"{folder!r} is relative to the working folder, which nodes share; expected a path "
            "from / or from a variable, such as /mnt/bb/$USER"
        )
    return folder


Betas = Annotated[tuple[float, float], AfterValidator(_betas)]
Rising = Annotated[tuple[float, float], AfterValidator(_rising)]
RisingShares = Annotated[tuple[Share, Share], AfterValidator(_rising)]


class MaeDecoder(Model):
    """MAE's transformer decoder."""

    width: Positive = Field(512, description="embedding width")
    depth: Positive = Field(8, description="blocks")
    heads: Positive = Field(16, description="attention heads")

    @model_validator(mode="after")
    def _shape(self) -> "MaeDecoder":
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"width {self.width} must be a multiple of heads {self.heads} and of 4"
            )
        return self


class SimmimDecoder(Model):
    """SimMIM's one-layer decoder."""

    kind: Literal["pixelshuffle", "dense"] = Field(
        "pixelshuffle", description="1 × 1 convolution + PixelShuffle, or one dense layer"
    )


class MaeMask(Model):
    """MAE's mask."""

    ratio: Part = Field(0.75, description="share of patches removed")
    norm_pix: bool | Literal["per_channel"] = Field(
        True,
        description="predict patches normalised by their mean and variance, over all channels "
        "together (true) or each channel by its own (per_channel)",
    )


class SimmimMask(Model):
    """SimMIM's mask."""

    ratio: Part = Field(0.6, description="share of mask cells hidden")
    patch: Positive = Field(32, description="size of a mask cell, pixels")


class Augment(Model):
    """Random resized crop and flips, a pure function of (seed, epoch, sample)."""

    scale: RisingShares = Field((0.2, 1.0), description="area of the crop over the image's")
    ratio: Rising = Field((3 / 4, 4 / 3), description="width over height of the crop")
    flip: bool = Field(True, description="mirror left and right at random")
    rotate: bool = Field(False, description="turn by a random multiple of 90 degrees")


class SimmimAugment(Augment):
    """The same, with SimMIM's larger crops."""

    scale: RisingShares = Field((0.67, 1.0), description="area of the crop over the image's")


class Optim(Model):
    """AdamW with linear warm-up and half a cosine down."""

    base_lr: float = Field(1.5e-4, gt=0, description="learning rate for `lr_reference_batch`")
    lr_reference_batch: Positive = Field(
        256, description="the rate used is base_lr × batch / lr_reference_batch"
    )
    betas: Betas = Field((0.9, 0.95), description="AdamW's moments")
    weight_decay: float = Field(0.05, ge=0, description="on matrices only")
    warmup_epochs: float = Field(40.0, ge=0, description="epochs of linear warm-up")
    min_lr: float = Field(0.0, ge=0, description="learning rate at the end")
    clip: float | None = Field(None, gt=0, description="largest gradient norm; null: no clipping")


class SimmimOptim(Optim):
    """The same, with SimMIM's values."""

    base_lr: float = Field(1e-4, gt=0, description="learning rate for `lr_reference_batch`")
    lr_reference_batch: Positive = Field(
        512, description="the rate used is base_lr × batch / lr_reference_batch"
    )
    betas: Betas = Field((0.9, 0.999), description="AdamW's moments")
    warmup_epochs: float = Field(10.0, ge=0, description="epochs of linear warm-up")
    clip: float | None = Field(5.0, gt=0, description="largest gradient norm; null: no clipping")


def _strategy(name: str) -> str:
    if not re.fullmatch(r"ddp|no_shard|hybrid_shard_[1-9]\d*|shard_grad_op|full_shard", name):
        raise ValueError("expected ddp, no_shard, hybrid_shard_<k>, shard_grad_op or full_shard")
    return name


Strategy = Annotated[str, AfterValidator(_strategy)]


class Launch(Model):
    """How a run is laid over the machine; none of it changes the result or makes it stale."""

    strategy: Strategy = Field(
        "no_shard", description="ddp, no_shard, hybrid_shard_<k>, shard_grad_op or full_shard"
    )
    nodes: Positive = Field(1, description="nodes")
    ranks_per_node: Positive = Field(1, description="processes a node, one a GPU")
    cores_per_rank: Positive = Field(1, description="CPU cores a process")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="loader processes a rank")
    prefetch: Positive = Field(2, description="batches that each loader process is ahead")
    gather_ahead: Annotated[int, Field(ge=0)] = Field(
        0,
        description="blocks whose parameters are gathered ahead, forward and backward, where the "
        "strategy cuts them; 0: as fully_shard does by itself",
    )
    retries: Annotated[int, Field(ge=0)] = Field(
        2, description="how often a sample that cannot be read is tried again"
    )
    bad_samples: Literal["fail", "skip"] = Field(
        "fail",
        description="what then: end the segment, or let the next sample take its place (counted in "
        "history.jsonl and in the summary)",
    )
    accumulate: Positive = Field(
        1, description="parts into which a rank's share of a batch is cut, one after the other"
    )
    activation_checkpointing: bool = Field(
        False, description="keep each block's input only and compute the rest again: less memory"
    )
    compile: bool = Field(False, description="compile each block (torch.compile)")
    walltime_minutes: Positive = Field(120, description="time limit of one segment")
    checkpoint_every: Positive = Field(500, description="steps between checkpoints")
    keep_checkpoints: Positive = Field(2, description="how many of the last checkpoints are kept")
    async_checkpoints: bool = Field(
        False, description="go on training while a checkpoint is being written"
    )
    log_every: Positive = Field(10, description="steps between lines of history.jsonl")
    bad_steps: Positive = Field(
        10,
        description="steps in a row whose loss or gradient is not finite (each is skipped) after "
        "which the segment ends with an error",
    )
    stall_minutes: Positive = Field(
        30,
        description="time in which a rank begins nothing (a batch, a step, a line of the log, a "
        "checkpoint) after which the segment ends, naming the stalled rank and where it is; more "
        "than the first step takes, compilation included",
    )
    stage_to: Annotated[str, AfterValidator(_on_each_node)] | None = Field(
        None,
        description="a folder on each node's own disk, such as `/mnt/bb/$USER` (variables are "
        "those of the node), to which shards are copied while training begins; null: none, see "
        "[docs/loader.md](loader.md#node-local-copies)",
    )
    stage_gb: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="most that copies may take on a node, GB; null: what its disk has, less 5 %",
    )


class RunBase(Model):
    """What all runs have."""

    label: str = Field("", description="name in the report; the key if empty")
    corpus: Name = Field(description="name of a corpus")
    encoder: Encoder = Field(description=_ENCODER)
    epochs: Positive = Field(100, description="passes over the corpus")
    batch: Positive = Field(256, description="samples a step, over all ranks")
    seed: int = Field(0, description="seed of weights, order, augmentation and mask")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="arithmetic of the forward pass")
    scaling: Literal["standardize", "mean_2sigma"] = Field(
        "standardize",
        description="what the network sees: mean 0 and deviation 1 by channel, or (chips only, as "
        "RICC) the value over mean + 2σ, cut to [0, 1]",
    )
    shuffle_window: Annotated[int, Field(ge=1, le=64)] | None = Field(
        32,
        description="shards whose samples are mixed at a time, each epoch in other windows; a "
        "window should hold 50 batches; null mixes the whole corpus, which opens a file for most "
        "samples where there are more than 128",
    )
    segments: Positive = Field(1, description="batch jobs the run is cut into")
    launch: Launch = Field(Launch(), description="how the run is laid over the machine")
    start: str | None = Field(
        None,
        description="what the encoder's first weights are: null (drawn from the seed), the name of "
        "a run or of an entry of `weights`, or the path (with a /) of a folder with "
        "weights.safetensors and model.json",
    )
    pinned: StrictBool | str = Field(
        False,
        description="true (or a run digest): keep the stored recipe, code and data digests, "
        "so that no edit restarts this run",
    )


class MaeRun(RunBase):
    """Masked autoencoder (arXiv 2111.06377) on a ViT."""

    objective: Literal["mae"]
    encoder: VitEncoder = Field(description=_ENCODER)
    decoder: MaeDecoder = Field(MaeDecoder(), description="thrown away after pretraining")
    mask: MaeMask = Field(MaeMask(), description="what is hidden")
    augment: Augment = Field(Augment(), description="crop and flips")
    optim: Optim = Field(Optim(), description="optimiser and schedule")


class SimmimRun(RunBase):
    """SimMIM (arXiv 2111.09886) on Swin or Swin V2."""

    objective: Literal["simmim"]
    encoder: SwinEncoder = Field(description=_ENCODER)
    decoder: SimmimDecoder = Field(SimmimDecoder(), description="thrown away after pretraining")
    mask: SimmimMask = Field(SimmimMask(), description="what is hidden")
    augment: SimmimAugment = Field(SimmimAugment(), description="crop and flips")
    optim: SimmimOptim = Field(SimmimOptim(), description="optimiser and schedule")


class GfmRun(SimmimRun):
    """GFM (arXiv 2302.04476): SimMIM and distillation from a frozen teacher."""

    objective: Literal["gfm"]  # type: ignore[assignment]
    teacher: str = Field(
        description="name of a run or of an entry of `weights`, or path (with a /) of a folder "
        "with weights.safetensors and model.json"
    )
    alpha: float = Field(1.0, ge=0, description="weight of the cosine term")


class SupervisedRun(RunBase):
    """Training with labels: only to make the teacher of the built-in sample."""

    objective: Literal["supervised"]
    augment: Augment = Field(Augment(), description="crop and flips")
    optim: Optim = Field(Optim(), description="optimiser and schedule")


Run = Annotated[MaeRun | SimmimRun | GfmRun | SupervisedRun, Field(discriminator="objective")]
