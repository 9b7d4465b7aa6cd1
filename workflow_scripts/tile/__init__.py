"""Tile: a day of MODIS granules, cut into chips of lossless counts."""
