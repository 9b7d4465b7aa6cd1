"""What all models of the configuration share."""

import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
SplitName = Literal["train", "val", "test"]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


def _day(text: str) -> str:
    return datetime.date.fromisoformat(text).isoformat()


Date = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)]


T = TypeVar("T")


def each_once(values: list[T]) -> list[T]:
    """A list without repetitions, for a validator.

    Raises:
        ValueError: Something is listed twice.
    """
    again = [value for number, value in enumerate(values) if value in values[:number]]
    if again:
        raise ValueError(f"{again[0]!r} is listed twice; expected each once")
    return values


class Model(BaseModel):
    """Unknown keys are errors, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, values: Any) -> Any:
        """`true` would pass for 1."""
        for name, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field and "bool" not in str(field.annotation).lower():
                raise ValueError(f"{name} is {str(value).lower()}; expected another type of value")
        return values


class DatasetBase(Model):
    """What all datasets have."""

    label: str = Field("", description="name in the report; the key if empty")
    licence: str | None = Field(
        None, description="of the data, for the model card, such as `cc-by-4.0`; null: not stated"
    )
    citation: str | None = Field(None, description="how to cite it; null: not stated")
