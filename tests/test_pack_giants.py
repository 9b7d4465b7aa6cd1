"""Giants, many bands and wide pixels: decoded piecewise, and equal to Pillow and numpy.

What counts as a giant is made small here.
"""

import io

import numpy as np
import pytest
import pyvips
from image_sets import pack, photos, write_dataset
from pictures import encoded, format_of, picture, pixels
from PIL import Image

from workflow_scripts.errors import UserError
from workflow_scripts.pack import decode, image_shard
from workflow_scripts.pack.decode import encode_file
from workflow_scripts.pack.encode import Settings, UndecodableError

SIZE = (330, 210)  # width, height


@pytest.fixture
def giants(monkeypatch):
    monkeypatch.setattr(decode, "MOST_PIXELS", 20_000)


def noise(size=SIZE):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


def tiled_tiff(image):
    array = np.ascontiguousarray(image)
    return pyvips.Image.new_from_array(array, interpretation="srgb").tiffsave_buffer(
        tile=True, tile_width=64, tile_height=64, compression="deflate"
    )


FORMS = {
    "JPEG": lambda image: encoded(image, "JPEG", quality=95, subsampling=0),
    "PNG": lambda image: encoded(image, "PNG"),
    "TIFF": lambda image: encoded(image, "TIFF"),
    "tiled TIFF": tiled_tiff,
}


def images_of(data, scratch, **settings):
    found = encode_file(data, Settings(**settings), scratch=scratch)
    return list(found.images), found.histogram


@pytest.mark.parametrize("form", FORMS)
def test_a_giant_is_scaled_as_pillow_would(giants, tmp_path, form):
    image = picture(1, size=SIZE)
    (kept,), histogram = images_of(FORMS[form](image), tmp_path, max_side=40)
    assert (kept.height, kept.width) == (40, 63)
    assert format_of(kept.data) == ("JPEG", "RGB")
    expected = np.asarray(image.resize((63, 40), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(pixels(kept.data) - expected).mean() < 4
    assert histogram.sum() == 3 * 40 * 63


@pytest.mark.parametrize("giant", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_tiles_cover_an_image_and_are_its_pixels(monkeypatch, tmp_path, form, giant):
    monkeypatch.setattr(decode, "MOST_PIXELS", 20_000 if giant else 10**9)
    data = FORMS[form](noise())
    whole = pixels(FORMS[form](noise()) if form != "tiled TIFF" else encoded(noise(), "PNG"))
    tiles, histogram = images_of(data, tmp_path, max_side=64, large="tile", quality=100)
    rows, columns = (0, 64, 128, 146), (0, 64, 128, 192, 256, 266)
    assert [tile.place for tile in tiles] == [f"@{r},{c}" for r in rows for c in columns]
    assert not list(tmp_path.iterdir())
    total = np.zeros((3, 256), np.int64)
    for tile in tiles:
        row, column = map(int, tile.place[1:].split(","))
        part = whole[row : row + 64, column : column + 64]
        if form == "JPEG":
            assert format_of(tile.data) == ("JPEG", "RGB")
            assert np.abs(pixels(tile.data).astype(int) - part).mean() < 2
        else:
            assert format_of(tile.data) == ("PNG", "RGB")
            np.testing.assert_array_equal(pixels(tile.data), part)
        for channel in range(3):
            total[channel] += np.bincount(pixels(tile.data)[..., channel].ravel(), minlength=256)
    np.testing.assert_array_equal(histogram, total)


def test_tiles_of_a_corpus_have_the_key_of_their_file_and_its_class(giants, tmp_path):
    files = {"river/large.png": (encoded(noise(), "PNG"), "train", "river")}
    sets = [write_dataset(tmp_path, "places", files | photos(range(2), "train"))]
    body, corpus = pack(sets, tmp_path / "out", max_side=200, large="tile")
    expected = [f"places/river/large.png@{r},{c}" for r in (0, 10) for c in (0, 130)]
    assert sorted(corpus.keys)[2:] == expected
    assert set(corpus.labels.tolist()) == {0}
    assert body["class_counts"] == {"train": {"river": 6}}
    assert not (tmp_path / "out" / ".packing").exists()


@pytest.mark.parametrize(
    ("data", "settings", "reason"),
    [
        (FORMS["PNG"](noise()), {}, "more than 20,000 pixels: set the key max_side"),
        (FORMS["PNG"](noise()), {"max_side": 210}, "although its shorter side is within max_side"),
        (FORMS["PNG"](noise()), {"max_side": 200}, "even when scaled to max_side"),
        (encoded(noise(), "JPEG", progressive=True), {"max_side": 40}, "interlaced"),
        (encoded(noise(), "BMP"), {"max_side": 40}, "format that cannot be decoded piecewise"),
    ],
)
def test_giants_that_cannot_be_used_are_refused_with_a_reason(
    giants, tmp_path, data, settings, reason
):
    with pytest.raises(UndecodableError, match=reason):
        images_of(data, tmp_path, **settings)


@pytest.mark.parametrize("large", ["scale", "tile"])
@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_giant_is_refused_as_a_whole(giants, tmp_path, form, large):
    data = FORMS[form](noise())
    with pytest.raises(UndecodableError, match=r"truncated|broken"):
        images_of(data[: len(data) * 2 // 3], tmp_path, max_side=64, large=large)
    assert not list(tmp_path.iterdir())


def test_a_giant_is_turned_as_its_exif_tag_says(giants, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(2, size=SIZE), "JPEG", quality=95, exif=exif)
    (kept,), _ = images_of(data, tmp_path, max_side=40)
    assert (kept.height, kept.width) == (63, 40)
    expected = np.rot90(np.asarray(picture(2, size=(63, 40))), -1).astype(int)
    assert np.abs(pixels(kept.data) - expected).mean() < 5
    with pytest.raises(UndecodableError, match="EXIF tag turns cannot be cut"):
        images_of(data, tmp_path, max_side=40, large="tile")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_too_large_to_be_read_whole_gives_the_same_bytes(tmp_path, monkeypatch, form):
    sets = [write_dataset(tmp_path, "places", {"one": (FORMS[form](noise()), None, None)})]
    _, whole = pack(sets, tmp_path / "a", quality=100)
    monkeypatch.setattr(image_shard, "MOST_BYTES", 10)
    _, streamed = pack(sets, tmp_path / "b", quality=100)
    assert streamed.image(0) == whole.image(0)


@pytest.mark.data
def test_chosen_bands_of_landsat_become_red_green_and_blue(shared_data, tmp_path):
    data = (shared_data / "geotiff" / "L7_ETMs.tif").read_bytes()
    (kept,), _ = images_of(data, tmp_path, bands=(3, 2, 1))
    bands = pyvips.Image.new_from_buffer(data, "").numpy()  # all six, in the order of the file
    np.testing.assert_array_equal(pixels(kept.data), bands[..., [2, 1, 0]])
    assert (kept.height, kept.width) == (352, 349)
    with pytest.raises(UndecodableError, match="has 6 bands: name with the key bands"):
        images_of(data, tmp_path)
    with pytest.raises(UndecodableError, match="asks for number 7"):
        images_of(data, tmp_path, bands=(7, 2, 1))
    tiles, _ = images_of(data, tmp_path, bands=(3, 2, 1), max_side=200, large="tile")
    assert len(tiles) == 4


def saved(values, **options):
    image = pyvips.Image.new_from_array(np.ascontiguousarray(values))
    return image.tiffsave_buffer(**options)


def test_a_value_range_becomes_0_to_255_and_what_is_no_number_black(tmp_path):
    values = np.array([[-5, 0, 1, 2.5, 5, 7, np.nan, np.inf]], np.float32)
    (kept,), _ = images_of(saved(values), tmp_path, value_range=(0.0, 5.0))
    expected = np.array([[0, 0, 51, 128, 255, 255, 0, 255]])
    got = pixels(kept.data)[..., 0].astype(int)
    assert np.abs(got - expected).max() <= 1  # 127.5 may go either way
    with pytest.raises(UndecodableError, match=r"floating point.*value_range"):
        images_of(saved(values), tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_three_wide_bands_become_8_bits_rounded_not_cut(tmp_path, kind):
    values = np.random.default_rng(1).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    image = pyvips.Image.new_from_array(values, interpretation="rgb16")
    data = image.pngsave_buffer() if kind == "PNG" else image.tiffsave_buffer()
    (kept,), _ = images_of(data, tmp_path)
    np.testing.assert_array_equal(pixels(kept.data), np.round(values / 65535 * 255))
    (ranged,), _ = images_of(data, tmp_path, value_range=(1000, 5000))
    expected = np.clip((values.astype(float) - 1000) / 4000, 0, 1) * 255
    assert np.abs(pixels(ranged.data) - expected).max() <= 0.5 + 1e-9


def test_eight_bits_and_three_bands_are_not_touched_by_these_keys(tmp_path):
    data = encoded(picture(), "TIFF")
    (kept,), _ = images_of(data, tmp_path, bands=(3, 2, 1), value_range=(0, 10))
    np.testing.assert_array_equal(pixels(kept.data), np.asarray(picture()))


def test_a_jpeg_that_the_loader_refuses_is_encoded_anew(tmp_path):
    """Two bytes of pixels lost: Pillow reads on, the loader's strict decoder does not."""
    data = encoded(noise(), "JPEG", quality=90)
    damaged = data[:20_000] + data[20_002:]
    with Image.open(io.BytesIO(damaged)) as image:
        expected = np.asarray(image).astype(int)
    assert decode.decode_strict(damaged) is None
    (kept,), _ = images_of(damaged, tmp_path)
    assert decode.decode_strict(kept.data) is not None
    assert np.abs(pixels(kept.data) - expected).mean() < 3


def test_a_giant_png_is_never_decoded_whole_not_even_to_find_its_exif_tag(
    giants, tmp_path, monkeypatch
):
    def refuse(image):
        raise AssertionError("decoded whole")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", refuse)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(2, size=SIZE), "PNG", exif=exif)
    (kept,), _ = images_of(data, tmp_path, max_side=40)
    assert (kept.height, kept.width) == (63, 40)


def test_a_full_disk_is_no_fault_of_the_image(giants, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workflow_scripts.pack.piecewise.cut", full)
    files = {"river/large.png": (encoded(noise(), "PNG"), "train", "river")}
    sets = [write_dataset(tmp_path, "places", files)]
    with pytest.raises(UserError, match=r"large\.png .*No space left on device"):
        pack(sets, tmp_path / "out", max_side=200, large="tile", max_set_aside=1.0)
