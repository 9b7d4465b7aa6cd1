"""LAADS: NASA's archive of MODIS granules, asked which granules it has of a day."""
