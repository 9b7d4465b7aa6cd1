"""Models of the configuration: MODIS granules and how they are cut, with their defaults."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from workflow_scripts.config_base import DatasetBase, Date, Model, Positive, Share
from workflow_scripts.config_sources import Sourced
from workflow_scripts.modis.bands import BANDS


def _each_once(days: list[str]) -> list[str]:
    if len(set(days)) < len(days):
        raise ValueError("a day stands twice")
    return days


Platform = Literal["Terra", "Aqua"]


class Tile(Model):
    """How granules are cut into chips, and which chips are kept."""

    bands: list[str] = Field(
        ["6", "7", "20", "28", "29", "31"], description="MODIS bands, in channel order"
    )
    size: Positive = Field(128, description="chip height and width, pixels")
    stride: Positive = Field(128, description="distance between chips, pixels")
    quantity: Literal["radiance", "reflectance", "counts"] = Field(
        "radiance", description="what scale and offset turn the stored counts into"
    )
    min_valid: Share = Field(
        1.0, description="smallest share of pixels that have a value in every band"
    )
    min_cloud: Share | None = Field(
        None,
        description="keep chips with a larger share of cloudy pixels (AICCA: 0.3); null: any. "
        "Chips without a cloud mask are kept and marked unknown",
    )
    min_water: Share | None = Field(
        None,
        description="keep chips with a larger share of water (AICCA: 0.99); null: any. Chips "
        "without a mask are kept and marked unknown",
    )
    dead_detectors: Literal["interpolate_lines", "drop_chip", "exclude_band"] = Field(
        "interpolate_lines",
        description="lines of a detector that gives nothing: filled from their neighbours and "
        "flagged in the chip; missing like any other pixel; or the whole band of that granule is "
        "left without values and asked for none",
    )
    night: Literal["drop_chip", "keep_missing"] = Field(
        "drop_chip",
        description="chips without sunlight, where reflective bands are asked for: dropped, or "
        "kept with the emissive bands alone",
    )
    night_zenith: float = Field(
        85.0, ge=0, le=180, description="solar zenith angle above which it is night, degrees"
    )
    max_broken_granules: Share = Field(
        0.5, description="largest share of unreadable granules before the day fails"
    )

    @model_validator(mode="after")
    def _known_bands(self) -> "Tile":
        unknown = [name for name in self.bands if name not in BANDS]
        if unknown or not self.bands:
            raise ValueError(f"bands {unknown}: no such MODIS band; there are {', '.join(BANDS)}")
        if len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands {self.bands}: a band stands twice")
        emissive = [name for name in self.bands if BANDS[name].emissive]
        if self.quantity == "reflectance" and emissive:
            raise ValueError(
                f"quantity reflectance: bands {', '.join(emissive)} are emissive and have none; "
                "choose radiance"
            )
        return self


class Granules(DatasetBase):
    """What all datasets of MODIS granules have."""

    platform: Platform = Field("Terra", description="satellite: Terra (MOD…) or Aqua (MYD…)")
    tile: Tile = Field(Tile(), description="how granules are cut into chips")


class SampleModis(Granules):
    """Synthetic MODIS Level-1B granules, generated as true HDF4 files."""

    kind: Literal["sample-modis"]
    dates: Annotated[list[Date], AfterValidator(_each_once)] = Field(
        ["2026-01-01"], min_length=1, description="days, as YYYY-MM-DD"
    )
    granules: Positive = Field(4, description="granules a day")
    lines: Positive = Field(400, multiple_of=10, description="scan lines of a granule")
    pixels: Positive = Field(520, description="pixels of a scan line")
    seed: int = Field(0, description="seed of the scenes")


class ModisL1b(Granules, Sourced):
    """MODIS Level-1B granules (MOD021KM, MYD021KM) on disk, or fetched from LAADS day by day.

    With their companions MOD03, MOD35_L2 and MOD06_L2.
    """

    kind: Literal["modis-l1b"]
    path: str | None = Field(
        None,
        description="folder of the granules and their companions, in any layout below it; read "
        "only, nothing is copied; null: each day from `first` to `last` is fetched, from `source` "
        "or as the catalogue says, tiled, and deleted",
    )
    listing: str | None = Field(
        None,
        description="text file that names them, one path (below `path`) a line, anything after a "
        "tab; null: the folder is looked through at every start, which takes long for a large "
        "archive (`python -m workflow_scripts.fetch.granules <path>` prints a listing)",
    )
    first: Date | None = Field(None, description="first day; null: the earliest there is")
    last: Date | None = Field(None, description="last day; null: the latest there is")
    obtain: str = Field(
        "", description="where the data can be had; shown when the folder is missing"
    )

    @model_validator(mode="after")
    def _order(self) -> "ModisL1b":
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"first {self.first} is after last {self.last}")
        return self
