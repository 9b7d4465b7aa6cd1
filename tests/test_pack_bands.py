"""What the bands of a TIFF mean is read from its tags; files are turned once; reasons are plain.

The files are written by hand, and the oracle is numpy on the values that were written.
"""

import numpy as np
import pytest
import pyvips
from pictures import encoded, picture, pixels, tiff
from PIL import Image

from workflow_scripts.pack import decode
from workflow_scripts.pack.decode import encode_file
from workflow_scripts.pack.encode import Settings, UndecodableError

GREY, RGB, CMYK = 1, 2, 5
UNSPECIFIED, PREMULTIPLIED, ALPHA = 0, 1, 2
SIZE = (330, 210)  # of giants, of which MOST_PIXELS is made small


def values(bands, kind, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, (6, 8, bands), kind)


def stored(data, scratch, **settings):
    """The pixels of the one image that a file becomes."""
    (image,) = encode_file(data, Settings(**settings), scratch=scratch).images
    return pixels(image.data)


def to_8_bits(found):
    return found if found.dtype == np.uint8 else np.round(found / 257).astype(np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("bands", "photometric", "extra"),
    [
        (2, GREY, [UNSPECIFIED]), (2, GREY, []), (4, RGB, [UNSPECIFIED]), (4, RGB, []),
        (4, GREY, [UNSPECIFIED] * 3), (4, GREY, [UNSPECIFIED] * 2 + [ALPHA]),
        (5, RGB, [UNSPECIFIED] * 2), (5, RGB, [ALPHA, UNSPECIFIED]), (6, RGB, [UNSPECIFIED] * 3),
        (5, CMYK, [ALPHA]),
    ],
)  # fmt: skip
def test_bands_that_are_not_alpha_are_never_multiplied_nor_dropped(
    tmp_path, bands, photometric, extra, kind, order
):
    found = values(bands, kind)
    tags = {"extra_samples": extra} if extra else {}
    data = tiff(found, photometric=photometric, order=order, **tags)
    with pytest.raises(UndecodableError, match=f"has {bands} bands: name with the key bands"):
        stored(data, tmp_path)
    asked = (2, 1, bands)
    expected = to_8_bits(found[..., [band - 1 for band in asked]])
    np.testing.assert_array_equal(stored(data, tmp_path, bands=asked), expected)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(("bands", "photometric"), [(2, GREY), (4, RGB)])
def test_a_band_that_is_alpha_makes_black_what_is_transparent(tmp_path, bands, photometric, kind):
    found = values(bands, kind)
    found[:, :3, -1], found[:, 3:, -1] = 0, np.iinfo(kind).max
    data = tiff(found, photometric=photometric, extra_samples=[ALPHA])
    kept = stored(data, tmp_path)
    assert not kept[:, :3].any()
    expected = np.broadcast_to(to_8_bits(found[:, 3:, :-1]), (6, 5, 3))
    np.testing.assert_array_equal(kept[:, 3:], expected)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_premultiplied_colours_are_not_multiplied_again(tmp_path, kind):
    found = values(4, kind)
    found[..., :3] //= 4
    found[..., 3] = np.iinfo(kind).max // 2
    data = tiff(found, photometric=RGB, extra_samples=[PREMULTIPLIED])
    expected = to_8_bits(found[..., :3]).astype(int)
    assert np.abs(stored(data, tmp_path) - expected).max() <= 1


@pytest.mark.parametrize("giant", [True, False])
@pytest.mark.parametrize("photometric", [GREY, RGB])
def test_small_and_giant_files_follow_one_rule(tmp_path, monkeypatch, giant, photometric):
    monkeypatch.setattr(decode, "MOST_PIXELS", 20_000 if giant else 10**9)
    found = np.random.default_rng(1).integers(0, 256, (210, 330, 4), np.uint8)
    extra = [UNSPECIFIED] * (1 if photometric == RGB else 3)
    data = tiff(found, photometric=photometric, extra_samples=extra)
    tiling = {"max_side": 150, "large": "tile"}
    with pytest.raises(UndecodableError, match="has 4 bands"):
        encode_file(data, Settings(**tiling), scratch=tmp_path)
    settings = Settings(bands=(4, 2, 1), **tiling)
    first, *_ = encode_file(data, settings, scratch=tmp_path).images
    np.testing.assert_array_equal(pixels(first.data), found[:150, :150, [3, 1, 0]])


def test_the_key_bands_is_for_tiff_alone(tmp_path):
    found = values(4, np.uint16)
    found[..., 3] = 65535
    data = pyvips.Image.new_from_array(found, interpretation="rgb16").pngsave_buffer()
    np.testing.assert_array_equal(
        stored(data, tmp_path, bands=(3, 2, 1)), to_8_bits(found[..., :3])
    )


def test_signed_8_bits_need_a_range(tmp_path):
    found = np.array([[[-128], [0], [127]]], np.int8)
    data = tiff(found, photometric=GREY, sample_format=[2])
    with pytest.raises(UndecodableError, match=r"signed 8-bit integers.*value_range"):
        stored(data, tmp_path)
    kept = stored(data, tmp_path, value_range=(-128, 127))
    np.testing.assert_array_equal(kept[0, :, 0], [0, 128, 255])


# How to show each orientation, from the EXIF standard: where line 0 and column 0 of the file are.
SHOWN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def turned(kind, orientation, size):
    """A file of a kind with an orientation, and its pixels as stored."""
    array = np.asarray(picture(4, size=size))
    if kind == "TIFF":
        return tiff(array, photometric=RGB, orientation=[orientation]), array
    if kind == "TIFF of 16 bits":
        wide = array.astype(np.uint16) * 257
        return tiff(wide, photometric=RGB, orientation=[orientation]), array
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 97, "subsampling": 0} if kind == "JPEG" else {}
    if kind == "TIFF with deflate":
        return encoded(Image.fromarray(array), "TIFF", compression="tiff_adobe_deflate",
                       tiffinfo={274: orientation}), array  # fmt: skip
    return encoded(Image.fromarray(array), kind, exif=exif, **options), array


KINDS = ["JPEG", "PNG", "TIFF", "TIFF of 16 bits", "TIFF with deflate"]


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("kind", KINDS)
def test_every_orientation_is_applied_once(tmp_path, kind, orientation):
    data, array = turned(kind, orientation, (14, 10))
    kept = stored(data, tmp_path)
    expected = SHOWN[orientation](array)
    assert kept.shape == expected.shape
    assert np.abs(kept.astype(int) - expected).mean() <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("kind", KINDS)
def test_every_orientation_of_a_giant_is_applied_once(tmp_path, monkeypatch, kind, orientation):
    monkeypatch.setattr(decode, "MOST_PIXELS", 20_000)
    data, array = turned(kind, orientation, SIZE)
    kept = stored(data, tmp_path, max_side=40)
    small = Image.fromarray(array).resize((63, 40), Image.Resampling.LANCZOS)
    expected = SHOWN[orientation](np.asarray(small))
    assert kept.shape == expected.shape
    assert np.abs(kept.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_there_is_not_changes_nothing(tmp_path, orientation):
    data, _ = turned("JPEG", orientation, (14, 10))
    (image,) = encode_file(data, Settings(), scratch=tmp_path).images
    assert image.data == data
    data, array = turned("TIFF", orientation, (14, 10))
    np.testing.assert_array_equal(stored(data, tmp_path), array)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_a_file_of_many_bytes_and_few_pixels_is_as_any_other(tmp_path, kind):
    """Kept byte for byte, or without loss, and not set aside: only its size on disk is large."""
    data = encoded(picture(5), kind)
    path = tmp_path / "one"
    path.write_bytes(data)
    (streamed,) = encode_file(path, Settings(), scratch=tmp_path).images
    (whole,) = encode_file(data, Settings(), scratch=tmp_path).images
    assert streamed == whole
    assert streamed.data == (data if kind == "JPEG" else encoded(picture(5), "PNG"))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", None])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_truncated_tiff_is_told_to_be_so(tmp_path, compression, share):
    noise = np.random.default_rng(2).integers(0, 256, (90, 90, 3), np.uint8)
    data = encoded(Image.fromarray(noise), "TIFF", compression=compression)
    with pytest.raises(UndecodableError) as caught:
        stored(data[: int(len(data) * share)], tmp_path)
    assert str(caught.value) in ("truncated", "truncated or broken")


def test_postscript_and_other_formats_are_never_opened(tmp_path):
    """Pillow would hand PostScript to a program outside."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    for data in (eps, encoded(picture(), "GIF"), encoded(picture(), "WEBP")):
        with pytest.raises(UndecodableError, match=r"^not a known image format$"):
            stored(data, tmp_path)
