"""What energy means for the climate: joules to kWh to CO2, in numbers and in words.

The number is location-based: the average of a stated grid, as model cards and the method of Lacoste
et al. (2019, arXiv:1910.09700) have it. Whatever was not measured stays None, and is told in words:
0 would be a measurement.
"""

from collections.abc import Mapping
from typing import Any

JOULES_PER_KWH = 3.6e6
NOT_MEASURED = "not measured"


def kwh(joules: float) -> float:
    """Kilowatt hours of so many joules."""
    return joules / JOULES_PER_KWH


def co2_kg(joules: float, energy: Mapping[str, Any]) -> float:
    """Kilograms of CO2 equivalent of what computers used, with what the centre used for it.

    Args:
        joules: Used by computers.
        energy: `grid_g_co2_per_kwh`, g CO2 equivalent a kWh of the grid, and `pue`, energy of the
            whole centre over that of its computers.
    """
    return float(kwh(joules) * energy["pue"] * energy["grid_g_co2_per_kwh"] / 1e3)


def kwh_words(joules: float | None) -> str:
    """`2.04 kWh`, or that it is not measured."""
    return NOT_MEASURED if joules is None else f"{_short(kwh(joules))} kWh"


def co2_words(joules: float | None, energy: Mapping[str, Any]) -> str:
    """`0.96 kg CO2e`, below a gram in grams, or that it is not measured."""
    if joules is None:
        return NOT_MEASURED
    kilograms = co2_kg(joules, energy)
    if 0 < kilograms < 1e-3:
        return f"{_short(1e3 * kilograms)} g CO2e"
    return f"{_short(kilograms)} kg CO2e"


def watts_words(watts: float | None) -> str:
    """`1,850 W`, or that it is not measured."""
    return NOT_MEASURED if watts is None else f"{_short(watts)} W"


def grid_words(energy: Mapping[str, Any]) -> str:
    """The factors behind a figure of CO2, to stand beside it."""
    return (
        f"{energy['grid_g_co2_per_kwh']:g} g CO2e a kWh ({energy['grid_source']}), "
        f"PUE {energy['pue']:g}"
    )


def _short(value: float) -> str:
    """Three digits that count, never with an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{value:.8f}".rstrip("0").rstrip(".") if "e" in text else text
