"""Models of the configuration: scaling studies, and what energy costs."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, model_validator

from workflow_scripts.config_base import Model, Name, Positive, each_once
from workflow_scripts.config_encoders import Encoder
from workflow_scripts.config_runs import MaeDecoder, Strategy

Mode = Literal["real", "synthetic", "no_communication", "io"]
NotNegative = Annotated[int, Field(ge=0)]
_ONCE = AfterValidator(each_once)


class Energy(Model):
    """What the energy that was measured, or planned, means for the climate."""

    grid_g_co2_per_kwh: float = Field(
        473.0, ge=0, description="of the grid that feeds the machine, g CO2 equivalent a kWh"
    )
    grid_source: str = Field(
        "world average of 2024, Ember, Global Electricity Review 2025",
        description="where that number is from, shown beside every figure of CO2",
    )
    pue: float = Field(
        1.0, ge=1, description="energy of the whole centre over that of its computers (PUE)"
    )


class Study(Model):
    """A scaling study: every combination of its lists is a point, measured by one job.

    Combinations that say the same are one point: with one rank no strategy differs and nothing
    is sent; what reads only (`io`) has no strategy; what reads nothing has no reader.
    """

    label: str = Field("", description="name in the report; the key if empty")
    corpus: Name | None = Field(
        None, description="what `real` and `io` read; null: neither is measured"
    )
    channels: Positive = Field(3, description="bands of the images where there is no corpus")
    objective: Literal["mae", "simmim"] | None = Field(
        None, description="null: mae for a ViT, simmim for a Swin"
    )
    encoders: dict[Name, Encoder] = Field(
        min_length=1, description="encoders by a name of your own; see docs/encoders.md"
    )
    decoder: MaeDecoder = Field(MaeDecoder(), description="of mae; as in a run")
    patches: Annotated[list[Positive], _ONCE] = Field(
        [], description="patch sizes, pixels, for the length of the sequence; empty: each its own"
    )
    strategies: Annotated[list[Strategy], _ONCE] = Field(
        ["no_shard"], min_length=1,
        description="ddp, no_shard, hybrid_shard_<k>, shard_grad_op, full_shard",
    )  # fmt: skip
    nodes: Annotated[list[Positive], _ONCE] = Field([1], min_length=1, description="nodes")
    ranks_per_node: Annotated[list[Positive], _ONCE] = Field(
        [1], min_length=1, description="processes a node, one a GPU"
    )
    modes: Annotated[list[Mode], _ONCE] = Field(
        ["real", "synthetic", "no_communication", "io"], min_length=1,
        description="real: from the corpus; synthetic: one batch in memory again and again; "
        "no_communication: the same, nothing sent between ranks; io: reading alone",
    )  # fmt: skip
    batch: Annotated[list[Positive], _ONCE] = Field(
        [32], min_length=1, description="samples of a rank in a step"
    )
    workers: Annotated[list[NotNegative], _ONCE] = Field(
        [0], min_length=1, description="loader processes of a rank; 0 reads in the rank itself"
    )
    prefetch: Annotated[list[Positive], _ONCE] = Field(
        [2], min_length=1, description="batches that each loader process is ahead"
    )
    gather_ahead: Annotated[list[NotNegative], _ONCE] = Field(
        [0], min_length=1,
        description="blocks whose parameters are gathered ahead, forward and backward, where a "
        "strategy cuts them; 0: as fully_shard does by itself",
    )  # fmt: skip
    cores_per_rank: Positive = Field(1, description="CPU cores a process")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="arithmetic of the forward pass")
    activation_checkpointing: bool = Field(False, description="as in a run's launch")
    compile: bool = Field(False, description="as in a run's launch")
    warmup: Positive = Field(
        3, description="steps before the clock starts, or more: as many as empty the reader"
    )
    steps: Positive = Field(10, description="steps of each repetition")
    repeats: Positive = Field(3, description="repetitions; medians and spread are over them")
    minutes: Positive = Field(30, description="time limit of a point's job")
    pinned: StrictBool = Field(
        False, description="true: keep the points that are there whatever the code is by now"
    )

    @model_validator(mode="after")
    def _readable(self) -> "Study":
        reading = [mode for mode in self.modes if mode in ("real", "io")]
        if self.corpus is None and reading:
            raise ValueError(
                f"modes {', '.join(reading)} read a corpus, and none is named; set corpus, or "
                "modes: [synthetic, no_communication]"
            )
        return self
