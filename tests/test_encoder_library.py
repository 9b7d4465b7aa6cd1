"""Named encoders: published parameter counts, how a name stands in a config, the table."""

import copy
import json
import re

import jsonschema
import pytest
import torch
import yaml
from snakemake.utils import update_config

from tests.conftest import ROOT
from workflow_scripts import encoder_docs, recipes, report_recipe
from workflow_scripts.code_digest import import_closure
from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.config_encoders import named_encoder
from workflow_scripts.encoder_docs import parameters
from workflow_scripts.errors import UserError
from workflow_scripts.models.encoders import build_encoder
from workflow_scripts.models.library import LIBRARY
from workflow_scripts.objectives import build_objective

DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())

COUNTS = {  # without a head: the papers, timm's registry and the projects' public records
    "vit_tiny": 5_524_416,
    "vit_small": 21_665_664,
    "vit_base": 85_798_656,
    "vit_large": 303_301_632,
    "vit_huge": 630_764_800,
    "swin_base": 86_743_224,
    "swinv2_base": 86_893_816,
    "swinv2_modis_100m": 31_146_306,
    "swinv2_modis_200m": 101_053_914,
    "swinv2_modis_600m": 385_581_366,
    "swinv2_modis_1.4b": 1_171_787_980,
}
MAE_TOTALS = {
    "vit_modis_100m": 112_722_688,
    "vit_modis_200m": 204_557_312,
    "vit_modis_600m": 658_430_208,
    "vit_modis_1b": 1_114_099_408,
}
DENSE_TOTALS = {
    "swinv2_modis_100m": 106_742_082,
    "swinv2_modis_200m": 209_679_834,
    "swinv2_modis_600m": 598_016_310,
    "swinv2_modis_1.4b": 1_423_544_524,
}


def count(encoder, channels=3):
    with torch.device("meta"):
        return sum(p.numel() for p in build_encoder(encoder.plain(), channels).parameters())


def pretrained(name, **recipe):
    recipe = {"encoder": named_encoder(name).plain(), "gfm": None, **recipe}
    with torch.device("meta"):
        return build_objective(
            recipe, channels=6, mean=[0.0] * 6, std=[1.0] * 6, classes=[], teacher=None
        )


@pytest.mark.parametrize("name", COUNTS)
def test_encoders_have_the_published_counts(name):
    assert parameters(name) == COUNTS[name]


@pytest.mark.parametrize(
    ("name", "above"),
    [("vit_base", 1.5), ("vit_huge", 0.7), ("vit_1b", 0.7), ("vit_3b", 0.7), ("vit_15b", 0.7)],
)
def test_published_frontier_figures_are_a_little_above_a_plain_vits(name, above):
    published = float(LIBRARY[name].published.removesuffix(" M"))
    assert 0 < (published / (parameters(name) / 1e6) - 1) * 100 < above


def test_only_a_gated_mlp_has_the_5b_rungs_published_count():
    assert LIBRARY["vit_5b"].published == "5349 M"
    assert parameters("vit_5b") / 1e6 == pytest.approx(5347.7, abs=0.05)
    assert count(named_encoder("vit_5b", image_size=504)) / 1e6 == pytest.approx(5349, abs=1)
    assert count(named_encoder("vit_5b", gated=False)) / 1e6 == pytest.approx(3805, abs=1)


@pytest.mark.parametrize("name", MAE_TOTALS)
def test_modis_mae_totals_are_the_published_ones(name):
    decoder = {"width": 512, "depth": 8, "heads": 16}
    mask = {"ratio": 0.75, "patch": None, "norm_pix": True}
    objective = pretrained(name, objective="mae", decoder=decoder, mask=mask)
    tables = sum(t.numel() for t in (objective.positions, objective.decoder_positions))
    of_class_token = objective.positions.shape[1] + objective.decoder_positions.shape[1]
    total = sum(p.numel() for p in objective.parameters()) + tables + of_class_token
    assert total == MAE_TOTALS[name]
    assert f"{total:,}" in LIBRARY[name].published


@pytest.mark.parametrize("name", [*DENSE_TOTALS, "swinv2_modis_3.6b"])
def test_modis_swinv2_totals_are_the_published_ones(name):
    mask = {"ratio": 0.6, "patch": 32, "norm_pix": False}
    objective = pretrained(name, objective="simmim", decoder={"kind": "dense"}, mask=mask)
    total = sum(p.numel() for p in objective.parameters()) - objective.mask_token.numel()
    if name in DENSE_TOTALS:
        assert total == DENSE_TOTALS[name]
        assert f"{total:,}" in LIBRARY[name].published
    else:
        assert total / 1e9 == pytest.approx(3.602, abs=1e-3)


def test_extra_norms_and_widths_are_those_of_swin_v2s_h_and_satvisions_configuration():
    # arXiv 2111.09883 says 658 million, with a head of 1,000 classes behind 8·352 features.
    huge = count(named_encoder("satvision_huge")) + (8 * 352 + 1) * 1000
    assert huge / 1e6 == pytest.approx(658, abs=0.5)
    plain = count(named_encoder("satvision_giant", extra_norm_period=42), 14)
    assert parameters("satvision_giant") - plain == 6 * 2 * 2048  # 7 norms in place of 1


# --- in a config ---------------------------------------------------------------------------------


def config_with(*encoders, run="scenes-mae"):
    """The default config and a further file over it an encoder, each merged by Snakemake itself."""
    raw = copy.deepcopy(DEFAULT)
    for encoder in encoders:
        update_config(raw, {"runs": {run: {"encoder": encoder}}})
    return raw


def test_our_merge_is_snakemakes(tmp_path):
    """Of the files with each other first: a name, then a mapping, over an encoder spelt out."""
    files, own = [], {}
    for encoder in ("vit_base", {"name": "vit_base", "image_size": 64}):
        changes = {"runs": {"scenes-mae": {"encoder": encoder}}}
        files.append(tmp_path / f"{len(files)}.yaml")
        files[-1].write_text(yaml.safe_dump(changes))
        update_config(own, changes)
    raw = copy.deepcopy(DEFAULT)
    update_config(raw, own)
    for load in (lambda: check_config(raw), lambda: load_config(*files)):
        with pytest.raises(UserError, match="beside name 'vit_base'"):
            load()


def recipe_of(*encoders, run="scenes-mae"):
    return recipes.pretrain(check_config(config_with(*encoders, run=run)), run)


def test_a_recipe_holds_numbers_and_no_name():
    spelt = {"family": "vit", "image_size": 224, "patch": 14, "width": 1536, "depth": 32}
    spelt |= {"heads": 16, "mlp_ratio": 4.0}
    expected = {"family": "vit", "image_size": 224, "patch": 14, "width": 1536, "depths": [32]}
    expected |= {"heads": [16], "mlp_ratio": 4.0, "window": None}
    assert recipe_of("vit_1b") == recipe_of(spelt) == recipe_of("vit_1b", {"name": "vit_1b"})
    assert recipe_of("vit_1b")["encoder"] == expected
    changed = recipe_of("vit_1b", {"name": "vit_1b", "image_size": 448})["encoder"]
    assert changed == expected | {"image_size": 448}


@pytest.mark.parametrize("file", [None, "examples/ucm.yaml"])
def test_keys_that_came_later_stand_in_no_recipe_that_leaves_them_out(file):
    config = load_config(*([ROOT / file] if file else []))
    plain = {"family", "image_size", "patch", "width", "depths", "heads", "mlp_ratio", "window"}
    assert all(set(recipes.pretrain(config, run)["encoder"]) == plain for run in config.runs)
    assert not re.search("gated|extra_norm", json.dumps(report_recipe.scientific(config)))


def test_a_recipe_holds_later_keys_where_they_matter():
    assert recipe_of("vit_5b")["encoder"]["gated"] is True
    giant = recipe_of("satvision_giant", run="modis-simmim")["encoder"]
    assert giant["extra_norm_period"] == 6


def test_every_name_is_an_encoder_that_some_objective_takes():
    for name, row in LIBRARY.items():
        run = "scenes-mae" if row.numbers["family"] == "vit" else "modis-simmim"
        raw = config_with(name, run=run)
        raw["runs"][run]["mask"] = {"ratio": 0.5} | ({} if run == "scenes-mae" else {"patch": 32})
        assert check_config(raw).runs[run].encoder == named_encoder(name), name
        assert row.source, name


@pytest.mark.parametrize(
    ("run", "encoders", "words"),
    [
        ("scenes-mae", ["vit_1"], ["runs.scenes-mae.encoder", "'vit_1'", "mean 'vit_1b'"]),
        ("modis-simmim", ["vit_base"], ["vit_base is a vit", "expected swin or swinv2"]),
        ("modis-simmim", ["satvision"], ["'satvision'", "mean 'satvision_"]),
        ("scenes-teacher", ["resnet50"], ["'resnet50'", "gfm_swin_base"]),
        ("scenes-mae", [7], ["runs.scenes-mae.encoder", "7"]),
        ("scenes-mae", ["vit_base", {"name": ["vit_base"]}], ["['vit_base']"]),
        ("scenes-mae", ["vit_base", {"name": "vit_base", "widht": 9}], ["widht", "mean 'width'"]),
        ("scenes-mae", ["vit_base", {"image_size": 512}], ["neither name nor family", "repeat it"]),
        # The default spells this encoder out: its width would change the named one silently.
        ("scenes-mae", [{"name": "vit_base"}], ["family (vit) beside name 'vit_base'"]),
        ("scenes-mae", ["vit_base", {"name": "vit_base", "heads": 7}], ["768 with 7 heads"]),
        ("scenes-mae", ["vit_base", {"name": "vit_base", "patch": 15}], ["224", "patch 15"]),
        (
            "modis-simmim",
            ["swinv2_base", {"name": "swinv2_base", "window": 7}],
            ["window 7 does not divide stage 1, which is 64"],
        ),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_by_name(run, encoders, words):
    with pytest.raises(UserError) as error:
        check_config(config_with(*encoders, run=run))
    for word in words:
        assert word in str(error.value)


def test_earlier_keys_can_be_nulled():
    earlier = dict.fromkeys(DEFAULT["runs"]["scenes-mae"]["encoder"])
    assert recipe_of(earlier | {"name": "vit_base"}) == recipe_of("vit_base")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("scenes-mae", {"decoder": {"heads": 7}}, ["decoder", "width 64", "heads 7"]),
        ("modis-simmim", {"mask": {"patch": 2}}, ["mask.patch: 2", "encoder.patch 4"]),
        (
            "scenes-gfm",
            {"encoder": {"depths": [2], "heads": [2]}},
            ["scenes-gfm.encoder.depths", "two or more"],
        ),
    ],
)
def test_what_an_objective_cannot_take_is_refused_before_any_job(path, value, words):
    raw = copy.deepcopy(DEFAULT)
    update_config(raw, {"runs": {path: value}})
    with pytest.raises(UserError) as error:
        check_config(raw)
    for word in words:
        assert word in str(error.value)


def test_statistics_by_channel_can_be_asked_for():
    raw = copy.deepcopy(DEFAULT)
    for value in (True, False, "per_channel"):
        raw["runs"]["scenes-mae"]["mask"] = {"norm_pix": value}
        found = recipes.pretrain(check_config(raw), "scenes-mae")["mask"]["norm_pix"]
        assert (type(found), found) == (type(value), value)
    raw["runs"]["scenes-mae"]["mask"] = {"norm_pix": "per_pixel"}
    with pytest.raises(UserError, match="norm_pix"):
        check_config(raw)


def test_editors_know_the_names():
    schema = json.loads((ROOT / "docs" / "config.schema.json").read_text())
    for encoder in ("vit_1b", {"name": "vit_1b", "image_size": 512}):
        jsonschema.validate(config_with("vit_1b", encoder), schema)
    for encoder in ("vit_1", {"name": "vit_1b", "image_sise": 512}, "swinv2_base"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(config_with("vit_1b", encoder), schema)


# --- the table -----------------------------------------------------------------------------------


def test_the_table_of_the_page_is_current():
    page = encoder_docs.PAGE.read_text(encoding="utf-8")
    assert encoder_docs.with_table(page) == page, "run python -m workflow_scripts.encoder_docs"


def test_a_new_name_makes_no_stage_stale():
    for stage in ("pretrain", "export", "probe"):
        assert "workflow_scripts.models.library" not in import_closure(stage)
