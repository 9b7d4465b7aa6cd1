"""Times of labelled rows, however they are spelt, as seconds since 1970-01-01 UTC."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workflow_scripts.errors import UserError

# Spelling of the whole text → how pandas reads it; numbers are spelt with four decimals first.
_DAY_OF_YEAR = r"A?(\d{7})\.(\d{1,4})"  # 2003001.0005: year, day of year, hour and minute
_DIGITS = {
    r"(\d{11})(?:\.0+)?": "%Y%j%H%M",
    r"(\d{12})(?:\.0+)?": "%Y%m%d%H%M",
    r"(\d{14})(?:\.0+)?": "%Y%m%d%H%M%S",
}
_EPOCH = r"\d{9,10}(?:\.\d+)?"
_ISO = r"\d{4}-?\d{2}-?\d{2}[T ]\d{2}:?\d{2}.*"
_KNOWN = (
    "ISO 8601 with a time of day, YYYYDDD.HHMM, YYYYDDDHHMM, YYYYMMDDHHMM, YYYYMMDDHHMMSS, seconds "
    "since 1970"
)
_FIRST = pd.Timestamp("1999-01-01", tz="UTC")  # Terra was launched that year


def utc_seconds(values: Any, *, where: str) -> NDArray[np.float64]:
    """Times (n,) in seconds since 1970-01-01 UTC; those without a zone are taken as UTC.

    Args:
        values: Times, numbers or text, all of one spelling (those of `_KNOWN`); a fraction of hours
            and minutes may have lost its trailing zeros, as numbers do in text files.
        where: File and column, for errors.

    Raises:
        UserError: A spelling that is not known, that differs from the first, or no time at all;
            a time before MODIS.
    """
    codes, distinct = pd.factorize(values)  # a granule's rows share their time
    if (codes < 0).any():
        raise UserError(f"{where}: {int((codes < 0).sum())} of {len(codes)} rows have no time")
    if len(codes) == 0:
        return np.zeros(0)
    times = _times(pd.Series(distinct), where=where)
    early = times < _FIRST
    if early.any():
        raise UserError(
            f"{where}: {distinct[int(np.argmax(early))]!r} would be {times[early].iloc[0]}, before "
            f"there was MODIS; expected {_KNOWN}"
        )
    seconds: NDArray[np.float64] = (
        (times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    ).to_numpy(np.float64)
    return seconds[codes]


def _times(values: pd.Series, *, where: str) -> pd.Series:
    """Distinct times as pandas has them, in UTC."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return pd.to_datetime(values, utc=True)
    text = _spelt(values, where=where)
    times = _parsed(text)
    if times is None:
        raise UserError(
            f"{where}: times such as {text.iloc[0]!r} and {text.iloc[-1]!r} are not all of one "
            f"known spelling; expected {_KNOWN}"
        )
    if times.isna().any():
        wrong = text[times.isna()].iloc[0]
        raise UserError(f"{where}: there is no such time as {wrong!r}; expected {_KNOWN}")
    return times


def _parsed(text: pd.Series) -> pd.Series | None:
    """Times of one spelling, NaT where there is no such time; None if they are of several."""
    how: dict[str, Any] = {"utc": True, "errors": "coerce"}
    if text.str.fullmatch(_EPOCH).all():
        return pd.to_datetime(text.astype(float), unit="s", **how)
    if text.str.fullmatch(_DAY_OF_YEAR).all():
        parts = text.str.extract(f"^{_DAY_OF_YEAR}$")
        return pd.to_datetime(parts[0] + parts[1].str.ljust(4, "0"), format="%Y%j%H%M", **how)
    for pattern, form in _DIGITS.items():
        if text.str.fullmatch(pattern).all():
            return pd.to_datetime(text.str.extract(f"^{pattern}$")[0], format=form, **how)
    if text.str.fullmatch(_ISO).all():
        return pd.to_datetime(text, format="ISO8601", **how)
    return None


def _spelt(values: pd.Series, *, where: str) -> pd.Series:
    """Values as text: whole numbers by their digits, others with four decimals."""
    if pd.api.types.is_float_dtype(values):
        if values.dtype == np.float32:
            raise UserError(
                f"{where}: times are single-precision numbers, which hold no minutes; store them "
                "in double precision or as text"
            )
        return values.map("{:.4f}".format)
    if values.map(lambda value: isinstance(value, bytes)).any():
        values = values.map(bytes.decode)
    return values.astype(str).str.strip()
