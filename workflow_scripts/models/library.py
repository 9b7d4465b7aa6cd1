"""Encoders by name: the one table of them, each with where its numbers come from.

No stage imports it: the configuration turns a name into plain numbers before any recipe is made,
so a new row makes nothing stale.
"""

from typing import Any, NamedTuple

_DEIT = "DeiT, arXiv 2012.12877"
_VIT = "ViT, arXiv 2010.11929"
_FRONTIER = "Frontier ladder, arXiv 2404.11706"
_MODIS = "EGU24-22461, public run records (derived)"
_SWIN = "Swin, arXiv 2103.14030"
_SWINV2 = "Swin V2, arXiv 2111.09883"
_SATVISION = "SatVision-TOA, arXiv 2411.17000, and the configs of nasa-nccs-hpda/satvision-toa"
_GFM = "GFM, arXiv 2302.04476"


class Named(NamedTuple):
    """A named encoder.

    Attributes:
        numbers: As `config_encoders` takes them: family and that family's keys.
        channels: Bands that the published parameter count is for.
        published: The published parameter count, in words; empty where its source has none.
        source: Where the numbers come from.
        note: What is not settled, or to be known; empty if nothing.
    """

    numbers: dict[str, Any]
    channels: int
    published: str
    source: str
    note: str = ""


def _vit(
    width: int, depth: int, heads: int, *, size: int = 224, patch: int = 16, **more: Any
) -> dict[str, Any]:
    return {
        "family": "vit", "image_size": size, "patch": patch, "width": width, "depth": depth,
        "heads": heads, **more,
    }  # fmt: skip


def _swin(
    family: str, width: int, depths: list[int], first: int, *, size: int, window: int, **more: Any
) -> dict[str, Any]:
    """Heads double from stage to stage, from `first` in the first."""
    return {
        "family": family, "image_size": size, "patch": 4, "width": width, "depths": depths,
        "heads": [first * 2**i for i in range(len(depths))], "window": window, **more,
    }  # fmt: skip


def _modis_vit(width: int, depth: int, heads: int) -> dict[str, Any]:
    return _vit(width, depth, heads, size=128)


def _modis_swin(width: int, depths: list[int], first: int) -> dict[str, Any]:
    return _swin("swinv2", width, depths, first, size=128, window=8)


_WITH_DECODER = "with MAE's decoder"
_WITH_DENSE = "with the dense decoder"
_FREE_HEADS = "the count does not tell the heads; chosen for a head dimension of {}"

LIBRARY: dict[str, Named] = {
    "vit_tiny": Named(_vit(192, 12, 3), 3, "", _DEIT),
    "vit_small": Named(_vit(384, 12, 6), 3, "", _DEIT),
    "vit_base": Named(_vit(768, 12, 12), 3, "87 M", f"{_VIT}; {_FRONTIER}"),
    "vit_large": Named(_vit(1024, 24, 16), 3, "", _VIT),
    "vit_huge": Named(_vit(1280, 32, 16, patch=14), 3, "635 M", f"{_VIT}; {_FRONTIER}"),
    "vit_1b": Named(_vit(1536, 32, 16, patch=14), 3, "914 M", _FRONTIER),
    "vit_3b": Named(_vit(2816, 32, 32, patch=14), 3, "3067 M", _FRONTIER),
    "vit_5b": Named(
        _vit(1792, 56, 16, patch=14, mlp_ratio=15360 / 1792, gated=True), 3, "5349 M", _FRONTIER,
        "gated MLP of hidden width 15360: the only one that has the published count (derived)",
    ),
    "vit_15b": Named(
        _vit(5040, 48, 48, patch=14), 3, "14720 M", _FRONTIER,
        "head dimension 105: fast attention kernels pad it or leave it to slower ones",
    ),
    "vit_modis_100m": Named(
        _modis_vit(768, 12, 12), 6, f"112,722,688 {_WITH_DECODER}", _MODIS,
        _FREE_HEADS.format(64),
    ),
    "vit_modis_200m": Named(
        _modis_vit(1024, 14, 16), 6, f"204,557,312 {_WITH_DECODER}", _MODIS,
        _FREE_HEADS.format(64),
    ),
    "vit_modis_600m": Named(
        _modis_vit(1280, 32, 16), 6, f"658,430,208 {_WITH_DECODER}", _MODIS,
        _FREE_HEADS.format(80),
    ),
    "vit_modis_1b": Named(
        _modis_vit(1680, 32, 21), 6, f"1,114,099,408 {_WITH_DECODER}", _MODIS,
        _FREE_HEADS.format(80),
    ),
    "swin_base": Named(
        _swin("swin", 128, [2, 2, 18, 2], 4, size=224, window=7), 3, "", _SWIN, "GFM's teacher",
    ),
    "gfm_swin_base": Named(
        _swin("swin", 128, [2, 2, 18, 2], 4, size=192, window=6), 3, "", _GFM,
    ),
    "swinv2_tiny": Named(
        _swin("swinv2", 96, [2, 2, 6, 2], 3, size=256, window=8), 3, "", _SWINV2,
    ),
    "swinv2_base": Named(
        _swin("swinv2", 128, [2, 2, 18, 2], 4, size=256, window=8), 3, "", _SWINV2,
    ),
    "swinv2_modis_100m": Named(
        _modis_swin(96, [2, 2, 8, 2], 3), 6, f"106,742,082 {_WITH_DENSE}", _MODIS,
    ),
    "swinv2_modis_200m": Named(
        _modis_swin(138, [2, 2, 18, 2], 6), 6, f"209,679,834 {_WITH_DENSE}", _MODIS,
    ),
    "swinv2_modis_600m": Named(
        _modis_swin(270, [2, 2, 18, 2], 6), 6, f"598,016,310 {_WITH_DENSE}", _MODIS,
    ),
    "swinv2_modis_1.4b": Named(
        _modis_swin(320, [2, 2, 42, 4], 10), 6, f"1,423,544,524 {_WITH_DENSE}", _MODIS,
    ),
    "swinv2_modis_3.6b": Named(
        _modis_swin(528, [2, 2, 42, 4], 12), 6, f"3.602 B {_WITH_DENSE}", _MODIS,
        "the heads are not settled",
    ),
    "satvision_huge": Named(
        _swin("swinv2", 352, [2, 2, 18, 2], 4, size=128, window=8, extra_norm_period=6), 14, "",
        _SATVISION, "Swin V2's H",
    ),
    "satvision_giant": Named(
        _swin("swinv2", 512, [2, 2, 42, 2], 16, size=128, window=8, extra_norm_period=6), 14,
        "3 B", _SATVISION,
        "2.6 B by its configuration; Swin V2's G has two blocks more in its last stage, and 3.0 B",
    ),
}  # fmt: skip
