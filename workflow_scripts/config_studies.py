"""Models of the configuration: what energy costs."""

from pydantic import Field

from workflow_scripts.config_base import Model


class Energy(Model):
    """What the energy that was measured, or planned, means for the climate."""

    grid_g_co2_per_kwh: float = Field(
        473.0, ge=0, description="of the grid that feeds the machine, g CO2 equivalent a kWh"
    )
    grid_source: str = Field(
        "world average of 2024, Ember, Global Electricity Review 2025",
        description="where that number is from, shown beside every figure of CO2",
    )
    pue: float = Field(
        1.0, ge=1, description="energy of the whole centre over that of its computers (PUE)"
    )
