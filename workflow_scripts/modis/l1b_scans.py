"""What MOD021KM holds beside its swath: the table of scans, noise by detector, band numbers."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.hdf4_writer import Sds, Table
from workflow_scripts.modis.l1b_layout import BAND_DIMS
from workflow_scripts.modis.l1b_quality import BIT_FLAGS
from workflow_scripts.modis.swath_geometry import SCAN_SECONDS

_LEAP_SECONDS = 10  # of TAI since 1993, for any day since 2017


def quality_arrays(scans: int, *, bands: Mapping[str, tuple[str, ...]]) -> list[Sds]:
    """The SDS outside the swath: noise of thermal detectors, DC restore changes, band numbers.

    Args:
        scans: Of the granule.
        bands: By SDS in the file, its bands.
    """
    emissive, line = "number of emissive bands", "detectors per 1km band"
    noise = np.full((16, 10), 2, np.uint8)
    arrays = [
        Sds(name=name, data=noise, dims=(emissive, line))
        for name in (
            "Noise in Thermal Detectors", "Change in relative responses of thermal detectors",
        )
    ]  # fmt: skip
    for name, of, shape in (
        ("Thermal Bands", emissive, (16, 10)),
        ("Reflective 250m Bands", "number of 250m bands", (2, 40)),
        ("Reflective 500m Bands", "number of 500m bands", (5, 20)),
        ("Reflective 1km Bands", "number of 1km reflective bands", (15, 10)),
    ):
        detectors = {40: "detectors per 250m band", 20: "detectors per 500m band"}
        arrays.append(
            Sds(
                name=f"DC Restore Change for {name}",
                data=np.zeros((scans, *shape), np.int8),
                dims=("number of scans", of, detectors.get(shape[1], line)),
            )
        )
    for sds, names in bands.items():
        name = BAND_DIMS[sds]
        text = name.removeprefix("Band_").replace("_RefSB", " Reflective Solar")
        text = text.replace("_Emissive", " Emissive")
        arrays.append(
            Sds(
                name=name,
                data=band_numbers(names),
                dims=(f"{name}:MODIS_SWATH_Type_L1B",),
                attributes={"long_name": f"{text} Band Numbers for Subsetting"},
            )
        )
    return arrays


def band_numbers(names: tuple[str, ...]) -> NDArray[np.float32]:
    """Numbers by which EOS tools choose bands: 13lo is 13, 13hi 13.5."""
    return np.array([float(name.rstrip("hilo")) + 0.5 * name.endswith("hi") for name in names],
                    np.float32)  # fmt: skip


def tai_seconds(time: datetime) -> float:
    """Seconds of atomic time since 1993, as EOS counts time."""
    start = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (start - datetime(1993, 1, 1, tzinfo=UTC)).total_seconds() + _LEAP_SECONDS


def scan_table(time: datetime, day: NDArray[np.bool_], *, frames: int,
               nadir: Mapping[str, NDArray[np.floating]]) -> Table:  # fmt: skip
    """The Vdata `Level 1B Swath Metadata`: a row a scan.

    Args:
        time: Start of the granule.
        day: (scans,) whether in day mode.
        frames: Pixels of a line.
        nadir: (scans,) degrees at nadir by name `Latitude`, `Longitude`, `SolarAzimuth`,
            `SolarZenith`, NaN where unknown.
    """
    number = np.arange(day.size, dtype=np.int32)
    places = {
        name: np.where(np.isfinite(values), values, -999.0).astype(np.float32)
        for name, values in nadir.items()
    }
    columns = {
        "Scan Number": number + 1,
        "Complete Scan Flag": np.ones_like(number),
        "Scan Type": np.where(day, b"D   ", b"N   ").astype("S4"),
        "Mirror Side": number % 2,
        "EV Sector Start Time": tai_seconds(time) + number * SCAN_SECONDS,
        "EV_Frames": np.full_like(number, frames),
        "Nadir_Frame_Number": np.full_like(number, frames // 2),
        "Latitude of Nadir Frame": places["Latitude"],
        "Longitude of Nadir Frame": places["Longitude"],
        "Solar Azimuth of Nadir Frame": places["SolarAzimuth"],
        "Solar Zenith of Nadir Frame": places["SolarZenith"],
        "No. OBC BB thermistor outliers": np.zeros_like(number),
        "Bit QA Flags": np.full(number.size, BIT_FLAGS, np.uint32),
        "Sector Rotation Angle": np.zeros(number.size, np.float32),
    }
    return Table(name="Level 1B Swath Metadata", columns=columns)
