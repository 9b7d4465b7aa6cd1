"""What a shard keeps of each kind of image, and which files are refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, format_of, picture, pixels
from PIL import Image

from workflow_scripts.pack.decode import encode_file
from workflow_scripts.pack.encode import Settings, UndecodableError


def stored(data, **settings):
    """The one image that a file becomes."""
    (image,) = encode_file(data, Settings(**settings), scratch=Path("/nowhere")).images
    return image


def test_an_rgb_jpeg_is_kept_byte_for_byte():
    data = encoded(picture(), "JPEG", quality=60)
    kept = stored(data)
    assert kept.data == data
    assert (kept.height, kept.width) == (10, 12)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_sources_stay_lossless(kind):
    kept = stored(encoded(picture(), kind))
    assert format_of(kept.data) == ("PNG", "RGB")
    np.testing.assert_array_equal(pixels(kept.data), np.asarray(picture()))


def test_a_tiff_that_is_jpeg_inside_becomes_a_jpeg():
    kept = stored(encoded(picture(), "TIFF", compression="jpeg"))
    assert format_of(kept.data) == ("JPEG", "RGB")


def test_grey_becomes_three_equal_channels():
    grey = picture(channels=1)
    kept = pixels(stored(encoded(grey, "PNG")).data)
    np.testing.assert_array_equal(kept, np.repeat(np.asarray(grey)[..., None], 3, axis=2))
    assert format_of(stored(encoded(grey, "JPEG")).data) == ("JPEG", "RGB")


def test_a_palette_gives_its_colours():
    palette = picture().quantize(16)
    kept = pixels(stored(encoded(palette, "PNG")).data)
    np.testing.assert_array_equal(kept, np.asarray(palette.convert("RGB")))


def test_what_is_transparent_becomes_black():
    image = picture().convert("RGBA")
    alpha = np.where(np.arange(12) < 6, 0, 255).astype(np.uint8)
    image.putalpha(Image.fromarray(np.tile(alpha, (10, 1))))
    kept = pixels(stored(encoded(image, "PNG")).data)
    assert not kept[:, :6].any()
    np.testing.assert_array_equal(kept[:, 6:], np.asarray(picture())[:, 6:])


def test_cmyk_becomes_rgb():
    kept = stored(encoded(picture().convert("CMYK"), "JPEG", quality=95))
    assert format_of(kept.data) == ("JPEG", "RGB")
    assert np.abs(pixels(kept.data).astype(int) - np.asarray(picture())).mean() < 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_become_8_over_the_whole_range(kind):
    values = np.array([[0, 257, 128 * 257, 65535, 1000, 60000]], np.uint16)
    kept = pixels(stored(encoded(Image.fromarray(values), kind)).data)
    expected = np.round(values / 65535 * 255)
    np.testing.assert_array_equal(kept, np.repeat(expected[..., None], 3, axis=2))


def test_pixels_without_a_defined_range_are_refused():
    image = Image.fromarray(np.ones((4, 4), np.float32))
    with pytest.raises(UndecodableError, match="floating point"):
        stored(encoded(image, "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_exif_rotation_is_applied(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    kept = stored(encoded(picture(), kind, exif=exif, **options))
    turned = np.rot90(np.asarray(picture()), -1)
    assert (kept.height, kept.width) == (12, 10)
    assert np.abs(pixels(kept.data).astype(int) - turned).mean() < 4
    with Image.open(io.BytesIO(kept.data)) as image:
        assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_large_images_are_scaled_by_their_shorter_side(kind):
    kept = stored(encoded(picture(size=(1200, 600)), kind), max_side=60)
    assert (kept.height, kept.width) == (60, 120)
    assert format_of(kept.data) == ("JPEG", "RGB")
    expected = np.asarray(picture(size=(120, 60))).astype(int)
    assert np.abs(pixels(kept.data) - expected).mean() < 4


def test_an_image_of_just_the_size_is_not_touched():
    data = encoded(picture(), "JPEG")
    assert stored(data, max_side=10).data == data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not an image", "not a known image format"),
        (encoded(picture(size=(200, 200)), "JPEG")[:-300], "truncated"),
        (encoded(picture(size=(200, 200)), "PNG")[:-300], "truncated"),
        (b"", "empty file"),
    ],
)
def test_broken_files_are_refused_with_a_reason(data, reason):
    with pytest.raises(UndecodableError, match=reason) as caught:
        stored(data)
    assert "0x" not in str(caught.value)  # no address: the index is the same each time


def test_a_camera_s_jpeg_with_a_preview_behind_it_is_kept_byte_for_byte():
    preview = picture(1, size=(6, 5))
    data = encoded(picture(), "MPO", save_all=True, append_images=[preview])
    assert format_of(data)[0] == "MPO"
    assert stored(data).data == data
