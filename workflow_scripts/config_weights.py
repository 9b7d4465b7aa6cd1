"""Models of the configuration: pretrained weights from elsewhere."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from workflow_scripts.config_base import Model, Positive

_KINDS = r"(test_)?(?P<kind>vit|deit3?|swinv2(?!_cr)|swin)([_.]|$)"


def family_of(architecture: str) -> str | None:
    """`vit`, `swin` or `swinv2` by the beginning of a name in timm, else None."""
    found = re.match(_KINDS, architecture)
    if found is None:
        return None
    return found["kind"] if found["kind"].startswith("swin") else "vit"


def _known(architecture: str) -> str:
    if family_of(architecture) is None:
        raise ValueError(
            "expected timm's name of a plain ViT, Swin or Swin V2 (vit_…, deit_…, swin_…, swinv2_…)"
        )
    return architecture


class Weights(Model):
    """Pretrained weights from elsewhere: judged, teachers of GFM, or what runs start from."""

    architecture: Annotated[str, AfterValidator(_known)] = Field(
        description="name in timm with its tag, such as swin_base_patch4_window7_224.ms_in22k"
    )
    file: str | None = Field(
        None,
        description="a local file: safetensors, or a PyTorch file of tensors; null: from the "
        "Hugging Face hub by timm's name",
    )
    licence: str = Field("", description="of the weights; what timm says if empty")
    channels: Positive = Field(3, description="bands the weights were trained on")
    image_size: Positive | None = Field(None, description="pixels; null: the architecture's")
    window: Positive | None = Field(
        None, description="attention window of a Swin, tokens; null: the architecture's"
    )
    scale: Literal["unit", "physical"] = Field(
        "unit", description="pixels as value / 255 of images, or in the units of chips"
    )
    mean: list[float] | None = Field(
        None, description="by band, what was taken from pixels; null: what timm says"
    )
    std: list[Annotated[float, Field(gt=0)]] | None = Field(
        None, description="by band, what they were divided by; null: what timm says"
    )

    @model_validator(mode="after")
    def _fit(self) -> "Weights":
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both or none")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} numbers for {self.channels} bands")
        if self.mean is None and (self.channels != 3 or self.scale != "unit"):
            raise ValueError(
                f"channels {self.channels}, scale {self.scale}: timm knows mean and std of RGB "
                "images only; give both"
            )
        if self.window is not None and family_of(self.architecture) == "vit":
            raise ValueError("window does not apply to a ViT; drop it")
        return self
