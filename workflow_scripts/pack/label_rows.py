"""Rows of AICCA's label files: class, time, position and platform, from netCDF, parquet or CSV."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.labels import SUFFIXES
from workflow_scripts.pack.timestamps import utc_seconds

# What a column may be called, in any case.
NAMES = {
    "label": ("label",),
    "time": ("timestamp",),
    "latitude": ("lat", "latitude"),
    "longitude": ("lon", "longitude"),
    "platform": ("platform",),
}
PLATFORMS = ("Terra", "Aqua")
_PREFIXES = {"mod": 0, "mod02": 0, "mod021km": 0, "myd": 1, "myd02": 1, "myd021km": 1}
LAST_LABEL = 42  # AICCA has 42 classes, counted from 0 or from 1


@dataclass(frozen=True, kw_only=True)
class LabelRows:
    """Rows as columns of one length.

    Attributes:
        time: float64, seconds since 1970-01-01 UTC.
        platform: uint8, index into `PLATFORMS`.
        latitude: float64, degrees north; NaN where the row has no position.
        longitude: float64, degrees east.
        label: int16, as the file has it.
    """

    time: NDArray[np.float64]
    platform: NDArray[np.uint8]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    label: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, which: Any) -> "LabelRows":
        """Some rows: a mask, numbers or a slice."""
        return LabelRows(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def joined(parts: Iterable[LabelRows]) -> LabelRows:
    """Rows of several files, ordered by their own values: files and rows may come in any order."""
    listed = list(parts)
    rows = LabelRows(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in listed])
            for f in fields(LabelRows)
        }
    )
    order = np.lexsort((rows.label, rows.longitude, rows.latitude, rows.platform, rows.time))
    return rows.take(order)


def read_rows(path: Path) -> LabelRows:
    """The rows of a label file, in its order.

    Args:
        path: `.nc` (netCDF 3 or 4), `.parquet` or `.csv` with the columns of `NAMES`.

    Raises:
        UserError: The file cannot be read, lacks a column, or holds what cannot be a class, a time,
            a position or a platform.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise UserError(f"{path}: a label file is one of {', '.join(_READERS)}")
    try:
        table = read(path)
    except (OSError, ValueError, LookupError, TypeError) as error:
        # What pandas, pyarrow, h5netcdf and scipy raise for broken files, besides their own.
        raise UserError(f"{path}: not a readable {path.suffix} file ({error})") from None
    return LabelRows(
        time=utc_seconds(table["time"], where=f"{path}, timestamp"),
        platform=_platforms(table["platform"], where=f"{path}, platform"),
        latitude=_degrees(table["latitude"], -90, 90, where=f"{path}, latitude"),
        longitude=_degrees(table["longitude"], -180, 360, where=f"{path}, longitude"),
        label=_labels(table["label"], where=f"{path}, label"),
    )


def _columns(path: Path, found: Iterable[Any]) -> dict[str, str]:
    """The file's own name of each column."""
    found = [str(name) for name in found]
    chosen = {}
    for column, names in NAMES.items():
        fitting = [name for name in found if name.strip().lower() in names]
        if len(fitting) != 1:
            what = f"{len(fitting)} columns called" if fitting else "no column called"
            raise UserError(
                f"{path}: {what} {' or '.join(names)} (in any case); its columns are "
                f"{', '.join(found) or 'none'}"
            )
        chosen[column] = fitting[0]
    return chosen


def _read_netcdf(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        engine: Any = "scipy" if file.read(3) == b"CDF" else "h5netcdf"  # netCDF 3, or 4
    with xr.open_dataset(path, engine=engine) as dataset:
        columns = {
            column: dataset[name] for column, name in _columns(path, dataset.variables).items()
        }
        shapes = {str(values.name): values.shape for values in columns.values()}
        if len(set(shapes.values())) > 1 or columns["label"].ndim != 1:
            raise UserError(f"{path}: columns have shapes {shapes}, expected one value a row each")
        return {column: pd.Series(values.to_numpy()) for column, values in columns.items()}


def _read_parquet(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    columns = _columns(path, pq.read_schema(path).names)
    table = pd.read_parquet(path, columns=list(columns.values()))
    return {column: table[name] for column, name in columns.items()}


def _read_csv(path: Path) -> dict[str, Any]:
    columns = _columns(path, pd.read_csv(path, nrows=0).columns)
    # As text: a number would lose what tells YYYYDDD.HHMM from others.
    text = {columns["time"]: str, columns["platform"]: str}
    table = pd.read_csv(path, usecols=list(columns.values()), dtype=text)
    return {column: table[name] for column, name in columns.items()}


_READERS = dict(zip(SUFFIXES, (_read_netcdf, _read_parquet, _read_csv), strict=True))


def _labels(values: Any, *, where: str) -> NDArray[np.int16]:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    wrong = ~(np.isfinite(numbers) & (numbers == np.round(numbers)))
    wrong |= (numbers < 0) | (numbers > LAST_LABEL)
    if wrong.any():
        raise UserError(
            f"{where}: {int(wrong.sum())} of {len(wrong)} rows are no class, the first is "
            f"{values.iloc[int(np.argmax(wrong))]!r}; expected whole numbers, 0 to 41 or 1 to 42"
        )
    return numbers.astype(np.int16)


def _degrees(values: Any, low: float, high: float, *, where: str) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    wrong = (numbers < low) | (numbers > high)
    if wrong.any():
        raise UserError(
            f"{where}: {values.iloc[int(np.argmax(wrong))]!r} is out of range; expected degrees "
            f"from {low} to {high}"
        )
    return numbers


def _platforms(values: Any, *, where: str) -> NDArray[np.uint8]:
    codes, distinct = pd.factorize(values)
    known = []
    for value in distinct:
        text = (value.decode() if isinstance(value, bytes) else str(value)).strip().lower()
        named = [number for number, name in enumerate(PLATFORMS) if name.lower() in text]
        code = named[0] if len(named) == 1 else _PREFIXES.get(text)
        if code is None:
            raise UserError(f"{where}: {value!r}, expected Terra or Aqua (or MOD… or MYD…)")
        known.append(code)
    if (codes < 0).any():
        raise UserError(f"{where}: {int((codes < 0).sum())} of {len(codes)} rows name none")
    return np.array(known, np.uint8)[codes]
