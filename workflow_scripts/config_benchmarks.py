"""Models of the configuration: benchmarks, the protocols they judge by, and their splits."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from workflow_scripts.config_base import Model, Name, Positive, Share, each_once
from workflow_scripts.config_data import ImagePacking
from workflow_scripts.config_finetune import FinetuneSettings
from workflow_scripts.config_runs import Rising, RisingShares
from workflow_scripts.errors import UserError
from workflow_scripts.published import keys
from workflow_scripts.split.presets import preset, presets

# A run, an entry of `weights`, or a run at a step of it.
EncoderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*(@[1-9][0-9]*)?$")]
Step = Annotated[int, Field(gt=0)]
Above0 = Annotated[float, Field(gt=0)]
Inside = Annotated[float, Field(gt=0, lt=1)]


Pooling = Literal["mean", "class", "mean+class"]
Normalisation = Literal["standardize", "l2", "none"]
Poolings = Annotated[list[Pooling], Field(min_length=1), AfterValidator(each_once)]
Normalisations = Annotated[list[Normalisation], Field(min_length=1), AfterValidator(each_once)]
Strengths = Annotated[list[Above0], Field(min_length=1), AfterValidator(each_once)]
Counts = Annotated[list[Positive], Field(min_length=1), AfterValidator(each_once)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch and numpy both take
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(each_once)]
ProtocolName = Literal["linear", "lars", "knn", "ridge", "few_shot", "finetune"]


def known_key(key: str) -> str:
    """A key of published numbers.

    Raises:
        ValueError: There are none of that key.
    """
    if key not in keys():
        raise ValueError(f"no published numbers have the key {key!r}; use {', '.join(keys())}")
    return key


class Knn(Model):
    """k nearest neighbours by cosine, votes weighted by exp(similarity / temperature)."""

    k: Counts = Field([5, 10, 20], description="numbers of neighbours to choose from")
    temperatures: Strengths = Field([0.07], description="temperatures to choose from")


class Ridge(Model):
    """Least squares on the classes, in closed form."""

    strengths: Strengths = Field(
        [0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0],
        description="penalties to choose from; larger is stronger, features are standardised",
    )


class LarsAugment(Model):
    """How training samples are seen, a pure function of (seed, view, sample)."""

    scale: RisingShares = Field((0.08, 1.0), description="area of the crop over the image's")
    ratio: Rising = Field((3 / 4, 4 / 3), description="width over height of the crop")
    flip: bool = Field(True, description="mirror left and right at random")
    rotate: bool = Field(False, description="turn by a random multiple of 90 degrees")


class Lars(Model):
    """MAE's linear probing (arXiv 2111.06377, A.1): batch norm, LARS, the last epoch reported."""

    epochs: Positive = Field(90, description="passes over the training split")
    warmup_epochs: float = Field(10.0, ge=0, description="epochs of linear warm-up")
    base_lr: float = Field(0.1, gt=0, description="the rate used is base_lr × batch / 256")
    batch: Positive = Field(
        16384, description="samples a step; a training split smaller than this gets fewer, recorded"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of LARS")
    trust: float = Field(0.001, gt=0, description="LARS's trust coefficient")
    pooling: Pooling | None = Field(
        None, description="null: the class token, or the mean where the encoder has none"
    )
    views: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="augmented views of each training sample whose features are kept, used in "
        "turn; null: one an epoch, as MAE does; 0: centre crops, fast",
    )
    augment: LarsAugment = Field(LarsAugment(), description="of these views")

    @model_validator(mode="after")
    def _falls(self) -> "Lars":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g} and epochs {self.epochs}: the learning "
                "rate would rise until the end; lower warmup_epochs"
            )
        return self


class FewShot(Model):
    """Logistic regression on a few training samples a class, drawn by seed."""

    shots: Counts = Field([1, 5, 10, 50], description="training samples a class")
    strength: float = Field(
        1.0, gt=0, description="inverse regularisation strength; nothing is left to choose it on"
    )


Identical = Literal["leave_out", "test", "refuse"]
_IDENTICAL = (
    "identical files on two sides: take those on the less protected side (test, then val, then "
    "train) out of the split, move them to the other (`test`), or refuse them"
)


class ByDataset(Model):
    """The dataset's own split."""

    by: Literal["dataset"] = "dataset"
    identical: Identical = Field("leave_out", description=_IDENTICAL)


class ByFraction(Model):
    """At random, one split a seed; identical images never cross."""

    by: Literal["fraction"]
    train: Share = Field(description="share for training")
    val: Share = Field(0.0, description="share for validation; probes do not use it")
    test: Share | None = Field(None, description="share for the final test; null: the rest")
    seeds: Seeds = Field([0], description="one split each")
    stratified: bool = Field(True, description="class by class")

    @model_validator(mode="after")
    def _sum(self) -> "ByFraction":
        total = self.train + self.val + (self.test or 0.0)
        if total > 1 + 1e-9:
            raise ValueError(f"train + val + test is {total:g}; it must be at most 1")
        if self.train == 0 or self.test == 0 or (self.test is None and total >= 1):
            raise ValueError("train and test each need a share above 0")
        return self


class ListFiles(Model):
    """One split as plain lists of keys."""

    train: str = Field(description="a text file, a key or file name a line")
    val: str | None = Field(None, description="the same, for validation")
    test: str = Field(description="the same, for the final test")


class ByLists(Model):
    """Splits kept as files, each one split."""

    by: Literal["lists"]
    files: list[str | ListFiles] = Field(
        min_length=1, description="a CSV with columns key and split, or lists of keys by side"
    )
    identical: Identical = Field("leave_out", description=_IDENTICAL)


def _by_name(value: Any) -> Any:
    """What a preset stands for; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return preset(value)
    except UserError as error:
        raise ValueError(str(error)) from None


_Written = ByDataset | ByFraction | ByLists
BenchmarkSplit = Annotated[
    _Written,
    Field(discriminator="by"),
    BeforeValidator(_by_name, json_schema_input_type=_Written | Literal[tuple(presets())]),
]


class Benchmark(ImagePacking):
    """A labelled dataset that judges encoders."""

    label: str = Field("", description="name in the report; the key if empty")
    dataset: Name = Field(description="name of a labelled dataset")
    encoders: Annotated[list[EncoderName], AfterValidator(each_once)] = Field(
        description="what is judged: runs, entries of `weights`, or `<run>@<step>`"
    )
    along: dict[Name, Annotated[list[Step], Field(min_length=1), AfterValidator(each_once)]] = (
        Field(
            {},
            description="runs and the steps at which they are judged too; the trainer keeps the "
            "checkpoints of these steps",
        )
    )
    split: BenchmarkSplit = Field(
        ByDataset(),
        description="division into train and test, or the name of a published fraction such as "
        "`ucm-50`; see [docs/probing.md](probing.md#splits)",
    )
    protocols: Annotated[list[ProtocolName], Field(min_length=1), AfterValidator(each_once)] = (
        Field(["linear", "knn"], description="how it is judged; the first is the headline")
    )
    image_size: Positive | None = Field(None, description="pixels; null: the encoder's own")
    layers: Positive = Field(1, description="last blocks whose features are joined")
    poolings: Poolings = Field(
        ["mean"], description="mean of patches, class token, or both joined; chosen from"
    )
    normalisations: Normalisations = Field(
        ["standardize"], description="of the features, for `linear`; chosen from"
    )
    strengths: Strengths = Field(
        [0.001, 0.01, 0.1, 1.0, 10.0],
        description="inverse regularisation strengths of `linear` to choose from",
    )
    holdout: Inside = Field(
        0.2, description="share of the training split on which settings are chosen"
    )
    seeds: Seeds = Field([0, 1, 2], description="seeds of probe and floor")
    knn: Knn = Field(Knn(), description="settings of this protocol")
    ridge: Ridge = Field(Ridge(), description="settings of this protocol")
    lars: Lars = Field(Lars(), description="settings of this protocol")
    few_shot: FewShot = Field(FewShot(), description="settings of this protocol")
    finetune: FinetuneSettings = Field(FinetuneSettings(), description="settings of this protocol")
    published: Annotated[str, AfterValidator(known_key)] | None = Field(
        None,
        description="key of the published numbers set beside it, such as `ucm`; null: found by "
        "the benchmark's name, for which `ucm-50` too has the key `ucm`",
    )
    max_set_aside: Share = Field(0.0, description="largest share of unreadable images")
