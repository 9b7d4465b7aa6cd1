"""Closed forms of kWh and CO2, and words that never make 0 of what was not measured."""

import pytest

from workflow_scripts.energy import climate
from workflow_scripts.energy.measured import Measured, measured

WORLD = {"grid_g_co2_per_kwh": 473.0, "grid_source": "Ember 2025", "pue": 1.0}


def test_joules_become_kilowatt_hours_and_co2():
    # A kettle of 2 kW for half an hour: 1 kWh.
    assert climate.kwh(2000 * 1800) == 1.0
    assert climate.co2_kg(3.6e6, WORLD) == pytest.approx(0.473)
    centre = {**WORLD, "grid_g_co2_per_kwh": 50.0, "pue": 1.2}
    assert climate.co2_kg(1000 * 3.6e6, centre) == pytest.approx(1000 * 1.2 * 0.05)


def test_the_published_emissions_of_a_known_training_come_out():
    """BLOOM: 433,196 kWh at 57 g a kWh are 24.69 t (Luccioni et al. 2023, JMLR 24, section 4.2)."""
    grid = {"grid_g_co2_per_kwh": 57.0, "grid_source": "France", "pue": 1.0}
    assert climate.co2_kg(433_196 * 3.6e6, grid) == pytest.approx(24_690, rel=1e-3)


@pytest.mark.parametrize(
    ("joules", "energy", "co2"),
    [
        (None, "not measured", "not measured"),
        (7.2e6, "2 kWh", "0.946 kg CO2e"),
        (3600.0, "0.001 kWh", "0.473 g CO2e"),
        (36.0, "0.00001 kWh", "0.00473 g CO2e"),
        (3.6e12, "1,000,000 kWh", "473,000 kg CO2e"),
    ],
)
def test_words(joules, energy, co2):
    assert climate.kwh_words(joules) == energy
    assert climate.co2_words(joules, WORLD) == co2


def test_mean_power():
    assert climate.watts_words(2000.0) == "2,000 W"
    assert climate.watts_words(1_234_567.0) == "1,234,567 W"
    assert climate.watts_words(None) == climate.NOT_MEASURED


def test_the_factors_are_stated():
    assert climate.grid_words(WORLD) == "473 g CO2e a kWh (Ember 2025), PUE 1"


def test_energy_is_the_whole_runs_or_the_sum_of_what_was_counted():
    counted = {"energy_j": 1.8e6, "energy_counter": "NVML"}
    # More than its segment: one before it was killed and has left no line.
    whole = measured({"segments": [counted], "energy_j": 7.2e6, "watts": 250.0})
    assert (whole.whole, whole.watts, whole.words()) == (7.2e6, 250.0, "2 kWh, NVML")
    part = measured({"segments": [counted, {"energy_j": None}, counted], "energy_j": None})
    assert (part.joules, part.whole, part.watts) == (3.6e6, None, None)
    assert part.words() == "1 kWh, NVML, in 2 of 3 segments; the others were not measured"
    assert measured({"segments": [{"energy_j": None}, {}]}) == Measured(joules=None)
    assert measured({}).words() == "not measured"
    told = measured({"segments": [{}], "energy_j": 3.6e6, "energy_counter": "accounting"})
    assert told.words() == "1 kWh, accounting"
