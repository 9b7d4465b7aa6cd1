"""Models of the configuration: scaling studies, machines, plans, and what energy costs."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, model_validator

from workflow_scripts.config_base import Model, Name, Positive, each_once
from workflow_scripts.config_encoders import Encoder
from workflow_scripts.config_runs import MaeDecoder, Strategy

Mode = Literal["real", "synthetic", "no_communication", "io"]
# More than any machine has; the planner computes with products of these.
Count = Annotated[int, Field(gt=0, le=10**6)]
NotNegative = Annotated[int, Field(ge=0)]
_ONCE = AfterValidator(each_once)


class Energy(Model):
    """What the energy that was measured, or planned, means for the climate."""

    grid_g_co2_per_kwh: float = Field(
        473.0,
        ge=0,
        le=10_000,
        description="of the grid that feeds the machine, g CO2 equivalent a kWh",
    )  # fmt: skip
    grid_source: str = Field(
        "world average of 2024, Ember, Global Electricity Review 2025",
        description="where that number is from, shown beside every figure of CO2",
    )
    pue: float = Field(
        1.0, ge=1, le=100, description="energy of the whole centre over that of its computers (PUE)"
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
    channels: Count = Field(3, description="bands of the images where there is no corpus")
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
    nodes: Annotated[list[Count], _ONCE] = Field([1], min_length=1, description="nodes")
    ranks_per_node: Annotated[list[Count], _ONCE] = Field(
        [1], min_length=1, description="processes a node, one a GPU"
    )
    modes: Annotated[list[Mode], _ONCE] = Field(
        ["real", "synthetic", "no_communication", "io"], min_length=1,
        description="real: from the corpus; synthetic: one batch in memory again and again; "
        "no_communication: the same, nothing sent between ranks; io: reading alone",
    )  # fmt: skip
    batch: Annotated[list[Count], _ONCE] = Field(
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


class TimeLimit(Model):
    """The time limit that jobs of up to so many nodes may have."""

    nodes: Positive = Field(description="nodes of a job, at most")
    minutes: Positive = Field(description="time limit of such jobs")


class Machine(Model):
    """A machine as a few numbers, for plans."""

    label: str = Field("", description="name in the report; the key if empty")
    devices_per_node: Count = Field(description="devices (GPUs, GCDs, CPU ranks) of a node")
    memory_gb: float = Field(gt=0, le=1e6, description="of a device, GB (10^9 bytes)")
    peak_tflops: float = Field(gt=0, description="of a device, dense, at the plan's precision")
    memory_gb_s: float = Field(gt=0, description="bandwidth of a device's own memory, GB/s")
    node_gb_s: float = Field(
        gt=0, description="between a device and the others of its node, each way, GB/s"
    )
    network_gb_s: float = Field(
        gt=0, description="between a node and the others, each way, all its adapters, GB/s"
    )
    node_watts: float | None = Field(
        None, gt=0, description="power of a node that trains; null: energy is not planned"
    )
    idle_watts: float | None = Field(None, gt=0, description="power of a node that waits")
    limits: list[TimeLimit] = Field([], description="time limits, small jobs first; empty: none")
    start_minutes: float = Field(
        3.0, ge=0, description="from the start of a job to its first step; not paid once, but by "
        "each segment",
    )  # fmt: skip
    storage_gb_s: float = Field(
        1.0, gt=0, description="what a node writes to the file system of the checkpoints, GB/s"
    )
    study: Name | None = Field(
        None, description="a study made on it, to which the planner's constants are fitted"
    )
    constants: dict[str, float] = Field(
        {}, description="of the planner, as `python -m workflow_scripts.plan refit` writes them; "
        "empty: those built in",
    )  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> "Machine":
        if self.node_watts and self.idle_watts and self.idle_watts > self.node_watts:
            raise ValueError(
                f"idle_watts {self.idle_watts:g} is more than node_watts {self.node_watts:g}"
            )
        nodes = [limit.nodes for limit in self.limits]
        if nodes != sorted(set(nodes)):
            raise ValueError(f"limits are for {nodes} nodes; expected small jobs first, each once")
        if self.constants and self.study:
            raise ValueError("expected either constants or a study to which they are fitted")
        return self


class Plan(Model):
    """What a pretraining would take of a machine, by strategy and number of nodes."""

    label: str = Field("", description="name in the report; the key if empty")
    run: Name | None = Field(
        None, description="a run, whose encoder, objective, corpus and epochs are planned"
    )
    encoder: Encoder | None = Field(None, description="instead of a run; see docs/encoders.md")
    objective: Literal["mae", "simmim"] | None = Field(
        None, description="with `encoder`; null: mae for a ViT, simmim for a Swin"
    )
    decoder: MaeDecoder = Field(MaeDecoder(), description="of mae, with `encoder`; as in a run")
    images: Positive | None = Field(
        None,
        le=10**15,
        description="of the corpus; null with a run: as its corpus holds, once it is packed",
    )
    channels: Count | None = Field(None, description="bands of the images; null: 3, or the run's")
    epochs: Positive | None = Field(
        None, le=10**9, description="passes over them; null: the run's, or 100"
    )
    machine: str = Field("frontier", description="an entry of `machines`, or one that is built in")
    nodes: Annotated[list[Count], _ONCE] = Field(
        [1, 2, 4, 8, 16, 32, 64, 128], min_length=1, description="numbers of nodes to compare"
    )
    strategies: Annotated[list[Strategy], _ONCE] = Field(
        [], description="to compare; empty: ddp, no_shard, hybrids in and over a node, "
        "shard_grad_op, full_shard",
    )  # fmt: skip
    batch: Count = Field(32, description="samples of a device in a step")
    precision: Literal["fp32", "bf16"] = Field("bf16", description="arithmetic of the forward pass")
    activation_checkpointing: bool = Field(False, description="as in a run's launch")
    checkpoint_every: Positive | None = Field(
        None, description="steps between checkpoints; null: as in the run's launch"
    )
    budget_node_hours: float | None = Field(
        None, gt=0, description="what may be spent; the recommended layout stays below it"
    )
    deadline_days: float | None = Field(
        None, gt=0, description="when it has to be done, waiting in queues not counted"
    )
    largest_batch: Positive | None = Field(
        None, description="images of a step, over all devices, beyond which you would not train"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Plan":
        if (self.run is None) == (self.encoder is None):
            raise ValueError("expected either run or encoder")
        if self.encoder is not None and self.images is None:
            raise ValueError("encoder needs images, the number of images of the corpus")
        return self
