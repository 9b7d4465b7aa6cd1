"""Models of the configuration: encoders, by their numbers or by a name of `models/library.py`.

A name is turned into its numbers before anything is checked, so that recipes, digests and the
report know numbers alone: a run keeps its digest whether it names its encoder or spells it out.
"""

import difflib
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, create_model, model_serializer, model_validator
from pydantic.functional_serializers import SerializerFunctionWrapHandler

from workflow_scripts.config_base import Model, Positive
from workflow_scripts.errors import UserError
from workflow_scripts.models.library import LIBRARY
from workflow_scripts.models.shapes import check_encoder


class EncoderBase(Model):
    """What all encoders have."""

    # Keys that came later: a recipe without them keeps its digest.
    sparse: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        return {
            key: value
            for key, value in dumped.items()
            if key not in self.sparse or value != fields[key].default
        }

    @model_validator(mode="after")
    def _shape(self) -> "EncoderBase":
        try:
            check_encoder(self.plain())
        except UserError as error:
            raise ValueError(str(error)) from None
        return self

    def plain(self) -> dict[str, Any]:
        """The encoder as recipes hold it: one shape for every family."""
        raise NotImplementedError


class Vit(EncoderBase):
    """A plain vision transformer."""

    sparse = frozenset({"gated"})

    family: Literal["vit"]
    image_size: Positive = Field(224, description="input height and width, pixels")
    patch: Positive = Field(16, description="patch size, pixels")
    width: Positive = Field(768, description="embedding width")
    depth: Positive = Field(12, description="blocks")
    heads: Positive = Field(12, description="attention heads; must divide the width")
    mlp_ratio: float = Field(4.0, gt=0, description="hidden width of the MLP over the width")
    gated: bool = Field(False, description="an MLP of three matrices (SwiGLU)")

    def plain(self) -> dict[str, Any]:
        """The encoder as recipes hold it."""
        found = self.model_dump(mode="json")
        return found | {"depths": [found.pop("depth")], "heads": [self.heads], "window": None}


class Swin(EncoderBase):
    """A Swin (`swin`) or Swin V2 (`swinv2`) transformer."""

    sparse = frozenset({"extra_norm_period"})

    family: Literal["swin", "swinv2"]
    image_size: Positive = Field(192, description="input height and width, pixels")
    patch: Positive = Field(4, description="patch size, pixels")
    width: Positive = Field(96, description="embedding width of the first stage")
    depths: list[Positive] = Field([2, 2, 6, 2], description="blocks of each stage")
    heads: list[Positive] = Field([3, 6, 12, 24], description="attention heads of each stage")
    mlp_ratio: float = Field(4.0, gt=0, description="hidden width of the MLP over the width")
    window: Positive = Field(6, description="attention window, tokens")
    extra_norm_period: Positive | None = Field(
        None,
        description="swinv2: a norm on the main branch after every so many blocks of a stage",
    )

    def plain(self) -> dict[str, Any]:
        """The encoder as recipes hold it."""
        return self.model_dump(mode="json")


# --- by name -------------------------------------------------------------------------------------


def _numbers(value: Any, families: tuple[str, ...]) -> Any:
    """The numbers of an encoder given by name; anything else as it is, to be checked as such."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        return value
    if "name" not in value:
        if "family" not in value:
            raise ValueError(
                "has neither name nor family; if an earlier file gives a bare name, a mapping "
                "takes its place whole: repeat it as {name: …}"
            )
        return value
    name = value["name"]
    # null says: as the named encoder has it.
    changes = {key: one for key, one in value.items() if key != "name" and one is not None}
    if "family" in changes:
        raise ValueError(
            f"has a family ({changes['family']}) beside name {name!r}. Files are merged key by "
            "key, so the keys of an earlier file would change the named encoder: give the run "
            "another key, or write the bare name, or null the earlier keys"
        )
    if not isinstance(name, str) or name not in LIBRARY:
        fitting = [known for known in LIBRARY if LIBRARY[known].numbers["family"] in families]
        close = difflib.get_close_matches(str(name), fitting, n=1, cutoff=0.4)
        nearest = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no encoder is called {name!r} ({', '.join(fitting)}){nearest}")
    numbers = LIBRARY[name].numbers
    if numbers["family"] not in families:
        raise ValueError(f"{name} is a {numbers['family']}; expected {' or '.join(families)}")
    return numbers | changes


def named_encoder(name: str, **changes: Any) -> Vit | Swin:
    """An encoder of the library, some of its numbers changed.

    Raises:
        ValueError: No such name, or numbers that do not fit together (pydantic's error).
    """
    numbers = _numbers({"name": name, **changes}, ("vit", "swin", "swinv2"))
    kind = Vit if numbers["family"] == "vit" else Swin
    return kind.model_validate(numbers)


def _named(kind: type[EncoderBase], families: tuple[str, ...]) -> Any:
    """What an editor lets stand for a family: its numbers, a name, or a name with changes."""
    names = tuple(name for name, row in LIBRARY.items() if row.numbers["family"] in families)
    fields: dict[str, Any] = {
        name: (field.annotation | None, Field(None, description=field.description))  # type: ignore
        for name, field in kind.model_fields.items()
        if name != "family"
    }
    fields["name"] = (Literal[names], Field(description="of docs/encoders.md"))
    changed: Any = create_model(f"Named{kind.__name__}", __base__=Model, **fields)
    return kind | changed | Literal[names]


def _resolver(*families: str) -> Callable[[Any], Any]:
    return lambda value: _numbers(value, families)


_AS_VIT, _AS_SWIN = _named(Vit, ("vit",)), _named(Swin, ("swin", "swinv2"))

VitEncoder = Annotated[Vit, BeforeValidator(_resolver("vit"), json_schema_input_type=_AS_VIT)]
SwinEncoder = Annotated[
    Swin, BeforeValidator(_resolver("swin", "swinv2"), json_schema_input_type=_AS_SWIN)
]
Encoder = Annotated[
    Vit | Swin,
    Field(discriminator="family"),
    BeforeValidator(_resolver("vit", "swin", "swinv2"), json_schema_input_type=_AS_VIT | _AS_SWIN),
]
