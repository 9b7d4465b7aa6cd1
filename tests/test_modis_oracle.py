"""The reader on whole granules against satpy, against Aqua's closed form, and by properties.

satpy knows Terra's temperature constants only and computes in float32; it is an independent reader
of the same files and nothing here shares code with it.
"""

import shutil
from datetime import datetime

import numpy as np
import pytest
from PIL import Image
from pyhdf.SD import SD, SDC

from workflow_scripts.fetch.samples.full_granule import observe
from workflow_scripts.modis import faults
from workflow_scripts.modis.bands import BANDS, RESERVED_COUNTS, SDS_BANDS
from workflow_scripts.modis.calibration import brightness_temperature
from workflow_scripts.modis.companion_writer import write_geolocation
from workflow_scripts.modis.detector_noise import uncertainty_indexes
from workflow_scripts.modis.geolocation import pixel_positions
from workflow_scripts.modis.granule import read_granule
from workflow_scripts.modis.granule_writer import tie_fields, write_granule
from workflow_scripts.modis.l1b import read_counts

# satpy takes the logarithm of negative radiances, too; they are compared as missing.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in log:RuntimeWarning")

TERRA = "MOD021KM.A2026005.1400.061.2026005140000.hdf"
AQUA = TERRA.replace("MOD", "MYD")
EMISSIVE = [name for name in BANDS if BANDS[name].emissive]
TOLERANCE = 1e-5  # relative: satpy computes in float32
RADIUS_KM = 6371.0


def texture_of(folder):
    with Image.open(next((folder / "modis_rgb").glob("Aqua_*20080120*.jpeg"))) as image:
        return np.asarray(image)


def spoil(counts, rng):
    """Every reserved count, counts between them and the valid range, and whole faults."""
    shape = counts["31"].shape
    for name in counts:
        counts[name] = counts[name].copy()
        codes = rng.permutation([*RESERVED_COUNTS, 32768, 40000, 65499, 32767, 0, 1] * 10)
        places = rng.choice(shape[0] * shape[1], codes.size, replace=False)
        counts[name].ravel()[places] = codes
    counts = faults.missing_scans(counts, [0, 77])
    counts = faults.saturated(counts, np.s_[900:930, 400:450], bands=("2", "7", "20", "31"))
    counts = faults.dead_detectors(counts, {"29": (3,)})
    return faults.dead_detectors(counts, {"28": (0, 9)}, value=65535)


@pytest.fixture(scope="module")
def granules(shared_data, tmp_path_factory):
    """Whole granules of both platforms with the same counts but for Aqua's band 6, and their MOD03.

    Clouds are those of a real scene.
    """
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(5)
    seen = observe(
        platform="Terra", time=datetime(2026, 1, 5, 14), rng_seed=1, texture=texture_of(shared_data)
    )
    counts = spoil(seen.counts, rng)
    uncertainty = uncertainty_indexes(counts)
    for name, indexes in uncertainty.items():
        places = rng.choice(indexes.size, 400, replace=False)
        uncertainty[name].ravel()[places] = np.repeat([14, 15, 16, 255], 100)
    uncertainty = faults.uncertain(uncertainty, np.s_[1500:1510, :300], bands=("6", "31"))
    ties = tie_fields(seen.geometry)
    write_granule(folder / TERRA, counts, uncertainty=uncertainty, **ties)
    write_geolocation(folder / TERRA.replace("021KM", "03"), seen.geometry)
    aqua = faults.dead_detectors(counts, {"6": faults.AQUA_BAND_6_DEAD})
    write_granule(folder / AQUA, aqua, uncertainty=uncertainty, **ties)
    yield {"Terra": folder / TERRA, "Aqua": folder / AQUA}
    shutil.rmtree(folder)  # 350 MB


def of_satpy(path, names, *quantities):
    """Arrays (quantity, band, y, x) as satpy's `modis_l1b` reads them."""
    import dask
    import satpy

    arrays = []
    for quantity in quantities:
        scene = satpy.Scene(reader="modis_l1b", filenames=[str(path)])
        scene.load(names, calibration=quantity, resolution=1000, generate=False)
        arrays += [scene[name].data for name in names]
    found = dask.compute(*arrays, scheduler="synchronous")
    return np.stack(found).reshape(len(quantities), len(names), *found[0].shape)


def of_ours(path, names, quantity):
    return read_granule(path, names, quantity=quantity)[quantity].values


def assert_same(ours, satpy):
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(satpy))
    np.testing.assert_allclose(ours, satpy, rtol=TOLERANCE)


def assert_spoilt(values):
    """The masks compared are not trivial: every band has pixels with and without a value.

    Over bright clouds the ocean bands are saturated for the most part, as in real granules.
    """
    missing = np.isnan(values).mean(axis=(1, 2))
    assert (missing > 0.009).all()
    assert (missing < 0.95).all()


@pytest.mark.data
@pytest.mark.parametrize("platform", ["Terra", "Aqua"])
@pytest.mark.parametrize("sds", ["EV_250_Aggr1km_RefSB", "EV_500_Aggr1km_RefSB", "EV_1KM_RefSB"])
def test_reflective_bands_equal_satpy(granules, platform, sds):
    names, path = list(SDS_BANDS[sds]), granules[platform]
    radiance, percent = of_satpy(path, names, "radiance", "reflectance")
    assert_same(of_ours(path, names, "radiance"), radiance)
    fraction = of_ours(path, names, "reflectance")
    assert_spoilt(fraction)
    assert_same(100.0 * fraction, percent)


@pytest.mark.data
def test_emissive_bands_equal_satpy(granules):
    radiance, kelvin = of_satpy(granules["Terra"], EMISSIVE, "radiance", "brightness_temperature")
    assert_same(of_ours(granules["Terra"], EMISSIVE, "radiance"), radiance)
    ours = of_ours(granules["Terra"], EMISSIVE, "brightness_temperature")
    assert_spoilt(ours)
    assert_same(ours, kelvin)


# Written out again from the facts sheet, in its order of bands: an oracle of its own.
AQUA_CWN = (
    2647.409, 2511.760, 2517.908, 2462.442, 2248.296, 2209.547, 1474.262, 1361.626, 1169.626,
    1028.740, 907.6813, 830.8411, 748.2978, 730.7766, 718.2094, 703.5007,
)  # fmt: skip
AQUA_TCS = (
    0.9993363, 0.9998626, 0.9998627, 0.9998707, 0.9998737, 0.9998770, 0.9995694, 0.9994867,
    0.9995270, 0.9997382, 0.9995270, 0.9997271, 0.9999173, 0.9999070, 0.9999198, 0.9999233,
)  # fmt: skip
AQUA_TCI = (
    0.4818401, 0.09426663, 0.09458604, 0.08736613, 0.07873285, 0.07550804, 0.1848769, 0.2064384,
    0.1674982, 0.08304364, 0.1343433, 0.07135051, 0.01948513, 0.02131043, 0.01804156, 0.01683156,
)  # fmt: skip


def closed_form(radiance, place):
    """Aqua's brightness temperature (K) in float64."""
    h, c, k = 6.6260755e-34, 2.9979246e8, 1.380658e-23
    wave = 1 / (100 * AQUA_CWN[place])
    with np.errstate(invalid="ignore"):
        exponent = np.log(2 * h * c**2 / (1e6 * radiance * wave**5) + 1)
    return (h * c / (k * wave * exponent) - AQUA_TCI[place]) / AQUA_TCS[place]


@pytest.mark.data
def test_emissive_bands_of_aqua_equal_satpy_by_its_constants_and_the_closed_form(granules):
    path = granules["Aqua"]
    satpy_radiance, satpy_kelvin = of_satpy(path, EMISSIVE, "radiance", "brightness_temperature")
    radiance = of_ours(path, EMISSIVE, "radiance")
    kelvin = of_ours(path, EMISSIVE, "brightness_temperature")
    assert_same(radiance, satpy_radiance)
    differences = []
    for place, name in enumerate(EMISSIVE):
        by_terra = brightness_temperature(radiance[place], band=name, platform="Terra")
        assert_same(by_terra, satpy_kelvin[place])
        expected = closed_form(radiance[place].astype(np.float64), place)
        np.testing.assert_array_equal(np.isnan(kelvin[place]), np.isnan(expected))
        np.testing.assert_allclose(kelvin[place], expected, rtol=1e-6)
        differences.append(np.nanmean(np.abs(by_terra - kelvin[place])))
    # The reader does use Aqua's own constants: Terra's are up to half a kelvin away.
    assert max(differences) > 0.3
    assert min(differences) < max(differences)


@pytest.mark.data
def test_the_dead_lines_of_aqua_have_no_value(granules):
    fraction = of_ours(granules["Aqua"], ["6"], "reflectance")[0]
    dead = [line for line in range(10) if np.isnan(fraction[line::10]).all()]
    assert dead == list(faults.AQUA_BAND_6_DEAD)


def distance_km(first, second):
    """Between (latitude, longitude) arrays in degrees, by the chord of a sphere."""
    points = []
    for latitude, longitude in (first, second):
        lat, lon = np.radians(latitude, dtype=float), np.radians(longitude, dtype=float)
        points.append(np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]))
    return RADIUS_KM * np.linalg.norm(points[0] - points[1], axis=0)


@pytest.mark.data
def test_interpolated_positions_agree_with_satpy_and_with_the_true_ones(granules):
    import satpy

    path = granules["Terra"]
    scene = satpy.Scene(reader="modis_l1b", filenames=[str(path)])
    scene.load(["latitude", "longitude"], resolution=1000)
    satpy_place = scene["latitude"].values, scene["longitude"].values
    true = satpy.Scene(
        reader="modis_l1b", filenames=[str(path.with_name(TERRA.replace("021KM", "03")))]
    )
    true.load(["latitude", "longitude"], resolution=1000)
    true_place = true["latitude"].values, true["longitude"].values
    stored = read_counts(path, ["31"])
    rows, columns = np.indices(true_place[0].shape).reshape(2, -1)
    ours = pixel_positions(stored.latitude, stored.longitude, rows=rows, columns=columns)
    ours = tuple(field.reshape(true_place[0].shape) for field in ours)
    # satpy models the scan and is within 30 m of what MOD03 holds; bilinear interpolation is within
    # 300 m at the two outermost pixels, which lie outside the tie points, and 150 m elsewhere,
    # where a pixel is 2 by 5 km large.
    assert distance_km(satpy_place, true_place).max() < 0.03
    for other in (satpy_place, true_place):
        apart = distance_km(ours, other)
        assert apart.max() < 0.3
        assert apart[:, 2:-2].max() < 0.15
        assert np.median(apart) < 0.05


SHAPE = (20, 32)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("platform", ["Terra", "Aqua"])
def test_any_scale_offset_and_count_follow_the_closed_form(tmp_path, platform, seed):
    rng = np.random.default_rng(seed)
    names = list(rng.permutation(list(BANDS))[:6])
    counts = {name: rng.integers(0, 65536, SHAPE).astype(np.uint16) for name in names}
    for plane in counts.values():  # half of them valid, and all reserved ones somewhere
        valid = rng.random(SHAPE) < 0.5
        plane[valid] = rng.integers(0, 32768, valid.sum())
        plane.ravel()[rng.permutation(plane.size)[: len(RESERVED_COUNTS)]] = list(RESERVED_COUNTS)
    indexes = {name: rng.integers(0, 20, SHAPE).astype(np.uint8) for name in names}
    path = tmp_path / (TERRA if platform == "Terra" else AQUA)
    ties = np.zeros((4, 6))
    write_granule(path, counts, uncertainty=indexes, latitude=ties, longitude=ties)
    scales, offsets = recalibrate(path, rng)
    found = read_granule(path, names, quantity="radiance")
    for row, name in enumerate(names):
        band = BANDS[name]
        scale, offset = scales[band.sds][band.index], offsets[band.sds][band.index]
        valid = (counts[name] <= 32767) & (indexes[name] < 15)
        expected = np.where(valid, (counts[name].astype(np.float64) - offset) * scale, np.nan)
        np.testing.assert_allclose(found["radiance"].values[row], expected, rtol=1e-6)
        np.testing.assert_array_equal(found["reason"].values[row] == 0, valid)
    for name in set(names) & set(EMISSIVE):
        band = BANDS[name]
        row = names.index(name)
        kelvin = read_granule(path, [name], quantity="brightness_temperature")
        radiance = found["radiance"].values[row].astype(np.float64)
        np.testing.assert_array_equal(
            np.isfinite(kelvin["brightness_temperature"].values[0]), radiance > 0
        )
        if platform == "Aqua":
            expected = closed_form(np.where(radiance > 0, radiance, np.nan), band.index)
            np.testing.assert_allclose(
                kelvin["brightness_temperature"].values[0], expected, rtol=1e-6
            )


def recalibrate(path, rng):
    """Replace the file's radiance scales and offsets by random ones; returns them by SDS."""
    scales, offsets = {}, {}
    file = SD(str(path), SDC.WRITE)
    for sds, names in SDS_BANDS.items():
        scales[sds] = (10 ** rng.uniform(-5, -1, len(names))).astype(np.float32)
        offsets[sds] = rng.uniform(-3000, 6000, len(names)).astype(np.float32)
        data = file.select(sds)
        data.attr("radiance_scales").set(SDC.FLOAT32, scales[sds].tolist())
        data.attr("radiance_offsets").set(SDC.FLOAT32, offsets[sds].tolist())
        data.endaccess()
    file.end()
    return (
        {sds: values.astype(np.float64) for sds, values in scales.items()},
        {sds: values.astype(np.float64) for sds, values in offsets.items()},
    )
