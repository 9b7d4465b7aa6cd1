"""MODIS Level-1B: the HDF4 files, their bands, the reader and a writer of synthetic granules."""
