"""Generators of the sample datasets: aerial scenes, and days of MODIS granules."""
