"""What the report shows of MODIS chips: temperatures, false colour, maps, histograms, labels."""

import datetime
import re
from collections import Counter

import numpy as np
import pytest

from tests.chip_reports import (
    corpus_of,
    figure_text,
    kelvin,
    one_corpus,
    physical,
    pictures,
    report_recipe,
)
from tests.report_tree import (
    BANDS,
    chip,
    make_chip_index,
    make_day,
    make_run,
    summary,
)
from tests.test_report import Page, make
from workflow_scripts.digests import file_sha256
from workflow_scripts.files import write_json
from workflow_scripts.report import chip_samples, figures_bands, figures_map
from workflow_scripts.report.chip_samples import Places, Positions, degrees, evenly
from workflow_scripts.report.pictures import FalseColour, limits
from workflow_scripts.report.style import NO_VALUE, styled
from workflow_scripts.report.tables import class_counts
from workflow_scripts.shards.reader import Shard
from workflow_scripts.shards.selection import Selection, write_selection

# --- which chips ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "count"), [(1, 6), (6, 6), (7, 6), (24, 6), (10**9, 128)])
def test_sampled_chips_are_one_of_each_equal_stretch(total, count):
    found = evenly(total, count)
    assert len(found) == min(total, count)
    if count >= total:
        assert found == list(range(total))
    for place, number in enumerate(found):
        assert place * total // len(found) <= number < (place + 1) * total // len(found)
    assert found == sorted(set(found))


def test_sampled_chips_do_not_keep_step_with_the_grid_of_a_granule():
    # 135 chips a granule, 15 lines of 9: any even step of a multiple of 9 would see one column.
    columns = {number % 9 for number in evenly(135 * 288, 64)}
    assert len(columns) == 9


def test_chips_come_with_their_own_columns_from_every_day(tmp_path):
    data, files = tmp_path / "data", {}
    for day in range(1, 4):
        date = f"2026-01-0{day}"
        chips = [chip(i, date=date, place=(day, i)) for i in range(4)]
        files[make_day(data, "modis", date, chips)] = 4
    make_chip_index(data, "modis", files, datasets=["modis"])
    found = list(chip_samples.sample_chips(corpus_of(tmp_path), 99))
    assert [(c.latitude, c.longitude) for c in found] == [
        (d, i) for d in (1, 2, 3) for i in range(4)
    ]
    assert [c.caption[0] for c in found[::4]] == [f"2026-01-0{d} 10:05 UTC" for d in (1, 2, 3)]
    for number, one in enumerate(found):
        np.testing.assert_allclose(one.values, physical(number % 4), rtol=1e-6)


def test_few_days_are_opened_whatever_their_number(tmp_path, monkeypatch):
    data, files = tmp_path / "data", {}
    days = [f"{datetime.date(2003, 1, 1) + datetime.timedelta(days=i)}" for i in range(200)]
    for day in days:
        files[make_day(data, "modis", day, [chip(0, date=day)])] = 1
    make_chip_index(data, "modis", files, datasets=["modis"])
    opened = Counter()
    original = Shard.hdf5
    monkeypatch.setattr(Shard, "hdf5", lambda s: opened.update([s.path]) or original(s))
    corpus = corpus_of(tmp_path)
    assert len(list(chip_samples.sample_chips(corpus, 6))) == 6
    assert len(opened) == 6
    opened.clear()
    found = chip_samples.positions(corpus, most_days=60, most_corners=2000)
    assert (found.days_read, found.days, len(opened)) == (60, 200, 60)
    assert len(found.centres) == 60


# --- pictures of chips ---------------------------------------------------------------------------


def test_thermal_band_is_a_temperature_by_each_satellites_own_constants(tmp_path):
    chips = [chip(0, platform="Terra"), chip(0, platform="Aqua")]
    one_corpus(tmp_path, chips)
    corpus = corpus_of(tmp_path)
    scale = chip_samples.shown_as(corpus, "31", {"Terra", "Aqua"})
    assert (scale.quantity, scale.units) == ("brightness temperature", "K")
    for one in chip_samples.sample_chips(corpus, 6):
        found = chip_samples.in_scale(one, 5, "31", scale)
        np.testing.assert_allclose(found, kelvin(physical(0)[5], one.platform), rtol=2e-7)
    # Equal radiances: the two differ, if only by hundredths of a kelvin.
    assert abs(kelvin(7.0, "Terra") - kelvin(7.0, "Aqua")) > 0.01


def test_picture_of_temperature_is_grey_and_cold_is_bright(tmp_path):
    recipe = one_corpus(tmp_path, [chip(i) for i in range(3)])
    make(tmp_path, recipe)
    shown = pictures(tmp_path, "data_modis")
    assert len(shown) == 6
    warmth = np.stack([kelvin(physical(i)[5], "Terra") for i in range(3)])
    low, high = np.percentile(warmth, (1, 99))
    expected = 255 * (1 - np.clip((warmth - low) / (high - low), 0, 1))
    for picture, grey in zip(shown[:3], expected, strict=True):
        assert (picture == picture[..., :1]).all()
        np.testing.assert_allclose(picture[..., 0], grey, atol=2.01)
    text = figure_text(tmp_path, "data_modis")
    assert any(re.fullmatch(r"2\d\d K", line) for line in text)
    assert "Band 31 (11.03 µm): brightness temperature, cold is bright" in text


def test_captions_tell_when_where_and_how_cloudy(tmp_path):
    unknown = {"cloud_share": np.float32(np.nan)}
    chips = [
        chip(1, place=(-12.34, 179.96)), chip(2, platform="Aqua", fields=unknown, night=True),
        chip(3, place=(0, 0)),
    ]  # fmt: skip
    make(tmp_path, one_corpus(tmp_path, chips))
    text = " ".join(figure_text(tmp_path, "data_modis"))
    for expected in (
        "2026-01-01 10:05 UTC", "12.3° S, 180.0° E", "Terra, cloud 38 %", "20.0° N, 40.0° W",
        "Aqua, cloud unknown, night", "0.0°, 0.0°", "no reflected", "light at night",
    ):  # fmt: skip
        assert expected in text, expected


def test_pixels_without_a_value_have_a_colour_of_their_own(tmp_path):
    broken = chip(0)
    broken.counts[5, 10:20] = 65531
    broken.counts[0, 40] = 65535
    make(tmp_path, one_corpus(tmp_path, [broken, chip(1)]))
    temperature, _, colour, _ = pictures(tmp_path, "data_modis")
    yellow = np.array([int(NO_VALUE[i : i + 2], 16) for i in (1, 3, 5)])
    np.testing.assert_array_equal(
        np.flatnonzero((temperature == yellow).all(axis=(1, 2))), np.arange(10, 20)
    )
    np.testing.assert_array_equal(
        np.flatnonzero((colour == yellow).all(axis=(1, 2))), [*range(10, 20), 40]
    )
    assert "no value" in figure_text(tmp_path, "data_modis")


def test_a_chip_that_is_whole_has_no_key_for_missing_values(tmp_path):
    make(tmp_path, one_corpus(tmp_path, [chip(0)]))
    assert "no value" not in figure_text(tmp_path, "data_modis")
    assert "ice cloud" in figure_text(tmp_path, "data_modis")


@pytest.mark.parametrize(
    ("quantity", "title", "units"),
    [("counts", "Band 31 (11.03 µm): counts", "counts (dimensionless)"),
     ("reflectance", "Band 31 (11.03 µm): reflectance", "reflectance (dimensionless)")],
)  # fmt: skip
def test_other_quantities_are_shown_as_they_are(tmp_path, quantity, title, units):
    make(tmp_path, one_corpus(tmp_path, [chip(i) for i in range(2)], quantity=quantity))
    text = figure_text(tmp_path, "data_modis")
    assert any(line.startswith(title) for line in text)
    assert not [line for line in text if line.endswith(" K")]
    assert "dimensionless" in text
    bands = figure_text(tmp_path, "bands_modis")
    assert bands.count(units) == len(BANDS)
    assert not [line for line in bands if line.endswith(" K")]


def test_unknown_satellite_is_shown_in_radiance(tmp_path):
    make(tmp_path, one_corpus(tmp_path, [chip(0), chip(1, fields={"platform": "Suomi"})]))
    text = figure_text(tmp_path, "data_modis")
    assert "Band 31 (11.03 µm): radiance, cold is bright" in text
    assert "W m⁻² sr⁻¹ µm⁻¹" in text


def test_limits_hold_for_nothing_and_for_one_value():
    assert limits(np.full(4, np.nan), (1, 99)) == (0.0, 1.0)
    low, high = limits(np.array([3.0, np.nan, 3.0]), (1, 99))
    assert low == 3 < high


def test_false_colour_of_nan_is_neither_black_nor_stretched():
    chips = np.stack([physical(0), physical(1)]).transpose(0, 2, 3, 1)
    holed = chips.copy()
    holed[0, 5, 5, 0] = np.nan
    colour = FalseColour(holed, BANDS)
    assert tuple(colour(holed[0])[5, 5]) == tuple(int(NO_VALUE[i : i + 2], 16) for i in (1, 3, 5))
    assert np.isfinite(colour.limits).all()
    np.testing.assert_array_equal(colour(holed[1]), FalseColour(holed, BANDS)(chips[1]))


# --- map -----------------------------------------------------------------------------------------


def view_of(points):
    return figures_map.choose_view(*np.array(points, float).T)


def test_far_points_show_the_whole_earth():
    assert view_of([(0, -100), (0, 0), (0, 100)]).whole
    assert view_of([(-40, 0), (40, 10)]).whole
    assert view_of([(80, 0), (81, 5)]).whole


def test_near_points_are_shown_near_across_the_date_line():
    view = view_of([(10, 178), (12, -179), (11, 179.5)])
    assert not view.whole
    assert view.east - view.west < 20
    inside = view.wrapped(np.array([178, -179, 179.5]))
    assert ((inside > view.west) & (inside < view.east)).all()
    assert np.ptp(inside) == pytest.approx(3)
    assert view.south < 10
    assert view.north > 12


def test_one_point_has_a_view_around_it():
    view = view_of([(60, -150)])
    assert (view.south + view.north) / 2 == pytest.approx(60)
    assert (view.west + view.east) / 2 == pytest.approx(-150)
    # As wide as twice its height in kilometres, where meridians are half as far apart.
    assert (view.east - view.west) / 2 * np.cos(np.radians(60)) == pytest.approx(
        view.north - view.south
    )


def test_angles_are_written_with_the_letter_of_their_side():
    assert [degrees(v, "NS") for v in (12.34, -0.5, 0.04, -0.04)] == [
        "12.3° N", "0.5° S", "0.0°", "0.0°",
    ]  # fmt: skip


def test_map_tells_platforms_apart_and_names_the_graticule(tmp_path):
    chips = [chip(i, place=(10 + i, 20)) for i in range(3)]
    chips += [chip(i, platform="Aqua", place=(12, 18)) for i in range(2)]
    make(tmp_path, one_corpus(tmp_path, chips))
    text = figure_text(tmp_path, "map_modis")
    for expected in ("Where all 5 chips are", "Terra, 3 chips", "Aqua, 2 chips", "20° E", "12° N"):
        assert expected in text, (expected, text)


def test_many_chips_become_counts_by_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(figures_map, "MOST_POINTS", 4)
    places = [(10.2, 20.2)] * 5 + [(-30.0, 120.0)]
    chips = [chip(0, place=place) for place in places] + [chip(0, platform="Aqua")]
    make(tmp_path, one_corpus(tmp_path, chips))
    text = figure_text(tmp_path, "map_modis")
    assert "chips in a cell of 2° × 2°" in text
    assert {"Terra, 6 chips", "Aqua, 1 chip"} <= set(text)


def test_cells_hold_every_chip_once_and_a_million_of_them_stay_small(tmp_path):
    random = np.random.default_rng(0)
    centres = np.stack([random.uniform(-90, 90, 10**6), random.uniform(-180, 180, 10**6)], axis=-1)
    centres[:2] = [(90, 180), (-90, -180)]
    found = Positions(
        places={"Terra": Places(centres=centres, corners=None)}, days_read=60, days=731
    )
    view = figures_map.choose_view(*centres.T)
    cells, rows, columns = figures_map.cells(centres, view)
    assert cells.sum() == 10**6
    place = np.searchsorted(rows, 33.3) - 1, np.searchsorted(columns, -77.7) - 1
    near = (np.floor(centres[:, 0] / 2) == 16) & (np.floor(centres[:, 1] / 2) == -39)
    assert cells[place] == near.sum()
    figure = figures_map._densities(found, view)
    figure.savefig(tmp_path / "map.svg")
    assert (tmp_path / "map.svg").stat().st_size < 400_000


# --- histograms ----------------------------------------------------------------------------------


def test_histograms_are_of_the_values_themselves_by_satellite(tmp_path):
    broken = chip(2)
    broken.counts[3, :7] = 65535
    one_corpus(tmp_path, [chip(0), chip(1, platform="Aqua"), broken])
    values, chips, step = figures_bands.read_values(corpus_of(tmp_path))
    assert (list(values), chips, step) == (["Terra", "Aqua"], 3, 1)
    expected = np.concatenate([physical(0), physical(2)], axis=1).reshape(6, -1)
    expected[3, 64 * 64 : 64 * 71] = np.nan
    np.testing.assert_allclose(values["Terra"], expected, rtol=1e-6)
    np.testing.assert_allclose(values["Aqua"], physical(1).reshape(6, -1), rtol=1e-6)


def test_histogram_marks_mean_and_two_sigma_of_the_index_where_it_has_them(tmp_path):
    chips, mean = [chip(i) for i in range(2)], [9.0, 3.0, 0.2, 4.0, 5.0, 6.5]
    make(tmp_path, one_corpus(tmp_path, chips, mean=mean))
    text = figure_text(tmp_path, "bands_modis")
    assert "mean" in text
    assert "mean + 2σ" not in text
    make_chip_index(
        tmp_path / "data", "modis", {tmp_path / "data/chips/modis/2026-01-01.h5": 2},
        datasets=["modis"], mean=mean, mean_2sigma=[2 * value for value in mean],
    )  # fmt: skip
    corpus = corpus_of(tmp_path)
    assert figures_bands._marks(corpus.index, 5) == [("mean", 6.5, "-"), ("mean + 2σ", 13.0, "--")]
    with styled():
        figures_bands.bands_figure(corpus, tmp_path / "results" / "figures")
    text = figure_text(tmp_path, "bands_modis")
    assert "mean + 2σ" in text
    assert text.count("radiance (W m⁻² sr⁻¹ µm⁻¹)") == len(BANDS)
    assert "Values by band: all chips" in text


def test_temperatures_stand_at_their_radiance(tmp_path):
    figure, axes = figures_bands.plt.subplots()
    axes.set_xlim(1.0, 10.0)
    figures_bands._temperature_axis(axes, "31", ["Aqua"])
    (upper,) = axes.child_axes
    ticks = upper.get_xticks()
    names = [label.get_text() for label in upper.get_xticklabels()]
    figures_bands.plt.close(figure)
    assert len(ticks) >= 4
    found = kelvin(ticks, "Aqua")
    assert names == [f"{value:.0f} K" for value in found]
    np.testing.assert_allclose(found, np.round(found, -1), atol=1e-6)
    assert np.abs(np.diff(ticks)).min() >= 0.15 * 9


def test_reflective_bands_have_no_temperatures():
    figure, axes = figures_bands.plt.subplots()
    figures_bands._temperature_axis(axes, "6", ["Terra"])
    assert not axes.child_axes
    figures_bands.plt.close(figure)


# --- corners of the matter -----------------------------------------------------------------------


def test_one_chip_of_one_day_without_anything_optional_has_a_page(tmp_path):
    recipe = one_corpus(tmp_path, [chip(0, fields={"cloud_share": np.float32(np.nan)})])
    html = make(tmp_path, recipe)
    assert "Where the chip is" in figure_text(tmp_path, "map_modis")
    assert "Labels matched with chips" not in html
    assert "cloud unknown" in " ".join(figure_text(tmp_path, "data_modis"))


def test_nothing_but_night_and_a_band_without_values_has_a_page(tmp_path):
    chips = [chip(i, night=True) for i in range(3)]
    for one in chips:
        one.counts[5] = 65531
    make(tmp_path, one_corpus(tmp_path, chips))
    text = figure_text(tmp_path, "bands_modis")
    assert text.count("no value in these chips") == 3
    text = " ".join(figure_text(tmp_path, "data_modis"))
    assert text.count("light at night") == 3
    assert text.count("no value") == 3  # instead of the temperature
    assert not pictures(tmp_path, "data_modis")


def test_no_day_kept_a_chip_of_a_dataset_without_dead_detectors(tmp_path):
    recipe = one_corpus(tmp_path, [chip(0)])
    write_json(
        tmp_path / "data" / "chips" / "modis" / "2026-01-01.json",
        summary("modis", "2026-01-01", chips_kept=0, chips_dropped={}, dead_detectors={},
                chips_by_platform={}, granules=[], granules_read=0, granules_set_aside=0),
    )  # fmt: skip
    text = Page(make(tmp_path, recipe)).text
    assert "chips kept 0 " in text
    assert "Dead detectors" not in text
    assert "Granules set aside (" not in text


def test_same_chips_give_the_same_figures(tmp_path):
    recipe = one_corpus(tmp_path, [chip(i, platform="TA"[i % 2] + "?") for i in range(4)])
    before = make(tmp_path, recipe)
    assert make(tmp_path, recipe) == before


def test_reconstructions_of_chips_with_missing_pixels(tmp_path):
    one_corpus(tmp_path, [chip(0)])
    shown = np.stack([physical(i) for i in range(4)]).transpose(0, 2, 3, 1)
    shown[0, :, :, :2] = np.nan  # night
    shown[1, 5, :, 5] = np.nan
    make_run(tmp_path / "results", "r", objective="simmim", bands=BANDS, pictures=shown)
    recipe = report_recipe(["modis"], {"modis": ["2026-01-01"]})
    recipe["runs"] = [{"name": "r", "label": "r", "objective": "simmim", "pinned": False}]
    make(tmp_path, recipe)
    text = figure_text(tmp_path, "reconstruction_r")
    assert "W m⁻² sr⁻¹ µm⁻¹" in text
    assert "band 31 prediction" in text


# --- labels --------------------------------------------------------------------------------------


def test_classes_stand_in_their_own_order_and_matching_is_shown(tmp_path):
    classes = [str(number) for number in range(12)]
    chips = [chip(i, label=i, split=0) for i in (2, 10)]
    matching = {
        "tolerance": {"seconds": 150, "km": 12.5}, "rows_read": 12345,
        "rows_unmatched": {"no chip": 3}, "newest": None,
    }  # fmt: skip
    recipe = one_corpus(
        tmp_path, chips, name="bench-aicca", classes=classes, matching=matching,
        counts={"train": {"10": 1, "2": 1, "none": 4}},
    )  # fmt: skip
    assert [name for name, _ in class_counts(corpus_of(tmp_path, "bench-aicca"))["rows"]] == [
        "2", "10", "none",
    ]  # fmt: skip
    text = Page(make(tmp_path, recipe)).text
    for expected in (
        "tolerance: seconds 150", "tolerance: km 12.5", "rows read 12,345",
        "rows unmatched: no chip 3", "newest not recorded", "no class 4",
    ):  # fmt: skip
        assert expected in text, expected
    shown = " ".join(figure_text(tmp_path, "data_bench-aicca"))
    assert "class 2" in shown
    assert "class 10" in shown


def test_only_selected_chips_are_shown_with_their_classes(tmp_path):
    data, files = tmp_path / "data", {}
    for day in (1, 2, 3):
        date = f"2026-01-0{day}"
        chips = [chip(i, date=date, place=(10 * day, i)) for i in range(4)]
        files[make_day(data, "modis", date, chips)] = 4
    folder = data / "shards" / "bench-aicca"
    rows = {1: "stratus", 6: "cirrus", 7: "stratus"}  # through all day files; none of the third day
    classes = ["cirrus", "stratus"]
    chosen = Selection(
        rows=np.array(list(rows), np.int64), splits=np.zeros(3, np.int8),
        labels=np.array([classes.index(name) for name in rows.values()], np.int32),
    )  # fmt: skip
    write_selection(folder / "selection.h5", chosen, classes=classes)
    make_chip_index(
        data, "bench-aicca", files, datasets=["modis"], classes=classes,
        counts={"train": {"cirrus": 1, "stratus": 2}},
        selection={"file": "selection.h5", "sha256": file_sha256(folder / "selection.h5")},
    )  # fmt: skip
    corpus = corpus_of(tmp_path, "bench-aicca")
    found = list(chip_samples.sample_chips(corpus, 6))
    assert [(c.latitude, c.longitude, c.label) for c in found] == [
        (10.0, 1.0, "stratus"), (20.0, 2.0, "cirrus"), (20.0, 3.0, "stratus"),
    ]  # fmt: skip
    places = chip_samples.positions(corpus, most_days=60, most_corners=2000)
    assert (places.days_read, places.days) == (2, 2)
    assert places.centres.tolist() == [[10, 1], [20, 2], [20, 3]]
    values, chips, _ = figures_bands.read_values(corpus)
    assert chips == 3
    np.testing.assert_allclose(
        values["Terra"], np.concatenate([physical(i).reshape(6, -1) for i in (1, 2, 3)], axis=1),
        rtol=1e-6,
    )  # fmt: skip
