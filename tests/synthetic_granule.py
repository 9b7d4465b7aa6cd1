"""Small synthetic granules for the tests of their writer, and plain pyhdf to look into files."""

from datetime import UTC, datetime

import numpy as np
from pyhdf.SD import SD

from workflow_scripts.modis.bands import BANDS
from workflow_scripts.modis.granule_writer import granule_file_name, tie_fields, write_granule
from workflow_scripts.modis.swath_geometry import SwathGeometry

TIME = datetime(2026, 3, 20, 14, 5, tzinfo=UTC)
SHAPE = (40, 52)


def swath(platform="Terra", *, shape=SHAPE, latitude=10.0, **options):
    return SwathGeometry(platform=platform, time=TIME, latitude=latitude, shape=shape, **options)


def name_of(platform="Terra", product="021KM"):
    return granule_file_name(platform, TIME, production="2026079140500", product=product)


def counts_of(shape=SHAPE, *, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(3000, 30000, shape).astype(np.uint16) for name in BANDS}


def write(folder, counts, *, platform="Terra", **options):
    path = folder / name_of(platform)
    write_granule(path, counts, **tie_fields(swath(platform)), **options)
    return path


def read(path, name):
    file = SD(str(path))
    data = file.select(name)
    found = np.asarray(data.get()), dict(data.attributes())
    data.endaccess()
    file.end()
    return found


def attributes(path):
    file = SD(str(path))
    found = dict(file.attributes())
    file.end()
    return found
