"""The AICCA benchmark: rows joined with chips, split by day, reported, and probed."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from tests.test_config import DEFAULT, changed
from tests.test_pack_chips import physical, write_shard
from workflow_scripts import recipes
from workflow_scripts.config_check import check_config
from workflow_scripts.dates import compress
from workflow_scripts.digests import canonical
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.datasets import fetch_files
from workflow_scripts.fetch.labels import labels_digest
from workflow_scripts.fetch.manifest import write_manifest
from workflow_scripts.jobs import Jobs
from workflow_scripts.pack.aicca import pack_labelled
from workflow_scripts.pack.joining import NO_POSITION, NO_TIME, TAKEN, TOO_FAR
from workflow_scripts.shards.corpus import Corpus, content_digest
from workflow_scripts.shards.layout import FORMAT_VERSION
from workflow_scripts.shards.writer import ChipSample

DATES = [f"2003-01-0{n}" for n in range(1, 7)]
KM = 180 / np.pi / 6371.0088  # degrees of latitude


def seconds(date, clock="00:00"):
    return int(np.datetime64(f"{date}T{clock}:00", "s").astype(np.int64))


def day_of(date, *, platform, seed, granules=("00:05", "12:00"), side=3):
    """Chips on a grid of about 100 km, some granules a day."""
    rng = np.random.default_rng(seed)
    samples = []
    for clock in granules:
        south, west = rng.uniform(-60, 60), rng.uniform(-180, 170)
        for number in range(side * side):
            fields = {
                "latitude": south + 0.9 * (number // side), "platform": platform,
                "longitude": west + 0.9 * (number % side), "time": seconds(date, clock),
            }  # fmt: skip
            samples.append(
                ChipSample(
                    key=f"{platform}.{date}.{clock}:{number}",
                    counts=rng.integers(0, 32768, (2, 8, 8)).astype(np.uint16),
                    scale=np.array([0.01, 0.02]), offset=np.zeros(2), fields=fields,
                )
            )  # fmt: skip
    return samples


@pytest.fixture
def days(tmp_path):
    """Six days of two satellites (the last of Aqua without chips); all samples by dataset."""
    samples = {}
    for seed, (dataset, platform) in enumerate((("terra", "Terra"), ("aqua", "Aqua"))):
        for number, date in enumerate(DATES):
            empty = dataset == "aqua" and number == 5
            found = [] if empty else day_of(date, platform=platform, seed=10 * number + seed)
            write_shard(tmp_path / "chips", date, found, bands=["31", "6"], dataset=dataset)
            samples.setdefault(dataset, []).extend(found)
    return samples


def rows_for(samples, *, seed=0, km=2.0):
    """A row a chip, up to `km` north or south of it, its class by its place in the list."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {
                "Label": number % 3 + 5,
                "Timestamp": pd.Timestamp(sample.fields["time"], unit="s").isoformat(),
                "lat": sample.fields["latitude"] + rng.uniform(-km, km) * KM,
                "lon": sample.fields["longitude"], "platform": sample.fields["platform"],
            }
            for number, sample in enumerate(samples)
        ]
    )  # fmt: skip


RECIPE = {
    "corpus": "bench-aicca", "kind": "chips", "datasets": ["terra", "aqua"], "synthetic": True,
    "days": {"terra": compress(DATES), "aqua": compress(DATES)},
    "labels": {"dataset": "aicca", "max_distance_km": 5.0, "max_minutes": 2.5,
               "split": {"train": 0.6, "val": 0.0, "test": 0.4, "seed": 0}},
}  # fmt: skip


def label_files(folder, *tables):
    folder.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(tables):
        table.to_csv(folder / f"{number}.csv", index=False)
    items, _ = fetch_files({"dataset": "aicca", "path": str(folder), "obtain": ""})
    manifest = folder.parent / "aicca.jsonl"
    write_manifest(manifest, items)
    return manifest


def pack(folder, manifest, **changes):
    """Pack and return the index's body and its path."""
    index = folder / "shards" / "bench-aicca" / "index.json"
    labels = {**RECIPE["labels"], **changes.pop("labels", {})}
    recipe = {**RECIPE, "labels": labels, **changes}
    body = pack_labelled(recipe, folder / "chips", manifest, index, workers=2)
    whole = {**body, "kind": "chips", "format_version": FORMAT_VERSION}
    index.write_text(json.dumps({**whole, "content": content_digest(whole)}))
    return body, index


def test_every_row_finds_its_chip_and_nothing_is_copied(tmp_path, days):
    samples = [*days["terra"], *days["aqua"]]
    table = rows_for(samples)
    body, index = pack(tmp_path, label_files(tmp_path / "labels", table))
    corpus = Corpus(index)
    assert corpus.keys == [sample.key for sample in samples]
    assert corpus.classes == ["05", "06", "07"]
    assert corpus.labels.tolist() == [number % 3 for number in range(len(samples))]
    assert len(body["shards"]) == 11
    assert [path.name for path in index.parent.glob("*.h5")] == ["selection.h5"]
    values = physical(samples)
    np.testing.assert_allclose(body["mean"], values.mean(1), rtol=1e-12)
    matching = body["matching"]
    assert (matching["rows"], matching["rows_matched"]) == (198, 198)
    assert (matching["chips"], matching["chips_without_row"]) == (198, 0)
    assert set(matching["rows_unmatched"].values()) == {0}
    offsets = np.abs(table["lat"] - [sample.fields["latitude"] for sample in samples]) / KM
    assert matching["distance_km"]["max"] == pytest.approx(offsets.max(), abs=1e-6)
    assert matching["distance_km"]["median"] == pytest.approx(np.median(offsets), abs=1e-6)
    assert matching["seconds"] == {"median": 0.0, "max": 0.0}
    assert (matching["max_distance_km"], matching["max_minutes"]) == (5.0, 2.5)


def test_no_day_is_in_two_splits_and_neighbours_stay_together(tmp_path, days):
    samples = [*days["terra"], *days["aqua"]]
    body, index = pack(tmp_path, label_files(tmp_path / "labels", rows_for(samples)))
    date_of = {sample.key: sample.key.split(".")[1] for sample in samples}
    sides = {name: {date_of[key] for key in Corpus(index, name).keys} for name in ("train", "test")}
    assert not sides["train"] & sides["test"]
    assert sides["train"] | sides["test"] == set(DATES)
    assert body["split_days"] == {"train": 4, "test": 2}
    assert body["left_out_at_midnight"] == 0
    counts = body["class_counts"]
    assert sum(counts["train"].values()) == len(Corpus(index, "train"))
    labels = [
        corpus.classes[label] for corpus in [Corpus(index, "test")] for label in corpus.labels
    ]
    assert Counter(labels) == counts["test"]


def test_shuffled_rows_in_other_files_give_the_same_bytes(tmp_path, days):
    table = rows_for([*days["terra"], *days["aqua"]], km=4.0)
    table = pd.concat([table, rows_for(days["terra"], seed=9)])  # rivals for the same chips
    mixed = table.sample(frac=1, random_state=1)
    found = []
    for name, tables in (("a", [table]), ("b", [mixed[:50], mixed[50:51], mixed[51:]])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "chips").symlink_to(tmp_path / "chips")
        body, index = pack(folder, label_files(folder / "labels", *tables))
        found.append((canonical(body), index.with_name("selection.h5").read_bytes()))
    assert found[0] == found[1]
    assert json.loads(found[0][0])["matching"]["rows_unmatched"][TAKEN] == len(days["terra"])


def test_what_does_not_match_is_counted_by_its_reason(tmp_path, days):
    table = rows_for(days["terra"])
    n = len(table)
    other = table.replace("Terra", "Aqua")
    late = table.assign(Timestamp=[f"{t[:14]}{int(t[14:16]) + 3:02d}:00" for t in table.Timestamp])
    elsewhere = table.assign(lat=table["lat"] + 20 * KM)
    twice = table.assign(lat=table["lat"] + 0.001 * KM)
    lost = table.assign(lon=np.nan)
    another_day = table.assign(Timestamp="2004-01-01T00:05:00")
    manifest = label_files(
        tmp_path / "labels", table, other, late, elsewhere, twice, lost, another_day
    )
    body, index = pack(tmp_path, manifest, datasets=["terra"], days={"terra": compress(DATES)})
    assert body["matching"]["rows_unmatched"] == {
        NO_TIME: 3 * n, NO_POSITION: n, TOO_FAR: n, TAKEN: n,
    }  # fmt: skip
    assert body["matching"]["rows"] == 7 * n
    assert len(Corpus(index)) == n
    tight, _ = pack(
        tmp_path, manifest, datasets=["terra"], days={"terra": compress(DATES)},
        labels={"max_distance_km": 1.0, "max_minutes": 3.0},
    )  # fmt: skip
    assert 0 < tight["matching"]["rows_matched"] < n
    assert tight["matching"]["rows_unmatched"][NO_TIME] == 2 * n
    assert tight["matching"]["chips_without_row"] == n - tight["matching"]["rows_matched"]


def test_rows_match_over_midnight(tmp_path):
    """Half a granule's time lies on the other day."""
    for number, (date, clock) in enumerate((("2003-01-01", "23:59"), ("2003-01-02", "00:00"))):
        found = day_of(date, platform="Terra", seed=number, granules=[clock])
        write_shard(tmp_path / "chips", date, found, bands=["31", "6"], dataset="terra")
    late, early = (day_of(d, platform="Terra", seed=n, granules=[c]) for n, (d, c) in
                   enumerate((("2003-01-01", "23:59"), ("2003-01-02", "00:00"))))  # fmt: skip
    tables = [
        rows_for(late).assign(Timestamp="2003-01-02T00:01:00"),
        rows_for(early).assign(Timestamp="2003-01-01T23:58:00"),
    ]
    body, _ = pack(
        tmp_path, label_files(tmp_path / "labels", *tables), datasets=["terra"],
        days={"terra": "2003-01-01/2003-01-02"},
        labels={"split": {"train": 0.5, "val": 0.0, "test": 0.5, "seed": 0}},
    )  # fmt: skip
    assert body["matching"]["rows_matched"] == 18
    assert body["matching"]["seconds"] == {"median": 120.0, "max": 120.0}
    # Both granules are one stretch of the swath: what is before midnight is in no split.
    assert body["left_out_at_midnight"] == 9
    assert sum(body["class_counts"]["none"].values()) == 9


def test_a_part_of_the_chips_is_selected_and_summed(tmp_path, days):
    chosen = days["terra"][3:40:5] + days["aqua"][2:60:7]
    body, index = pack(tmp_path, label_files(tmp_path / "labels", rows_for(chosen)))
    assert Corpus(index).keys == [sample.key for sample in chosen]
    assert body["count"] == len(chosen) == body["selection"]["count"]
    np.testing.assert_allclose(body["mean"], physical(chosen).mean(1), rtol=1e-12)
    np.testing.assert_allclose(body["std"], physical(chosen).std(1), rtol=1e-12)
    assert len(body["shards"]) < 11  # days without a match are not listed
    assert body["matching"]["chips_without_row"] == 198 - len(chosen)


def test_day_files_that_changed_and_labels_that_changed_are_refused(tmp_path, days):
    manifest = label_files(tmp_path / "labels", rows_for(days["terra"]))
    day = tmp_path / "chips" / "terra" / f"{DATES[0]}.h5"
    whole = day.read_bytes()
    day.write_bytes(whole + b"x")
    with pytest.raises(UserError, match="run tile for this day again"):
        pack(tmp_path, manifest)
    day.write_bytes(whole)
    (tmp_path / "labels" / "0.csv").write_text("Label\n1\n")
    with pytest.raises(UserError, match="changed since its manifest was made"):
        pack(tmp_path, manifest)


def test_classes_that_count_from_0_here_and_from_1_there_are_refused(tmp_path, days):
    table = rows_for(days["terra"])
    manifest = label_files(tmp_path / "labels", table.assign(Label=0), table.assign(Label=42))
    with pytest.raises(UserError, match="both class 0 and class 42"):
        pack(tmp_path, manifest)


def test_nothing_matched_or_too_few_days_is_told_with_numbers(tmp_path, days):
    table = rows_for(days["terra"])
    far = label_files(tmp_path / "far", table.assign(lat=table["lat"] + 1))
    with pytest.raises(UserError, match=r"none of 108 rows belongs to one of 198 chips.*108"):
        pack(tmp_path, far)
    one_day = label_files(tmp_path / "one", table[:18])
    with pytest.raises(UserError, match="1 days have labelled chips, too few"):
        pack(tmp_path, one_day)
    assert not (tmp_path / "shards" / "bench-aicca" / "selection.h5").exists()


# --- fetch and configuration -----------------------------------------------------------------


def test_label_files_are_found_and_noticed_when_they_change(tmp_path):
    labels = {"dataset": "aicca", "path": str(tmp_path / "labels"), "obtain": "Ask its authors."}
    with pytest.raises(UserError, match=r"does not exist .*\nAsk its authors\.\n.*datasets\.aicca"):
        fetch_files(labels)
    empty = labels_digest(tmp_path / "labels")
    for name in ("2003/001.nc", "2003/b.CSV", "a.parquet", "notes.txt", ".hidden.csv"):
        path = tmp_path / "labels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    items, set_aside = fetch_files(labels)
    assert [item.key for item in items] == ["2003/001.nc", "2003/b.CSV", "a.parquet"]
    assert set_aside == []
    before = labels_digest(tmp_path / "labels")
    (tmp_path / "labels" / "a.parquet").write_text("another")
    assert len({empty, before, labels_digest(tmp_path / "labels")}) == 3
    one, _ = fetch_files({**labels, "path": str(tmp_path / "labels" / "a.parquet")})
    assert [item.key for item in one] == ["a.parquet"]


def test_tolerances_and_split_are_of_packing_and_not_of_fetching():
    def both(**changes):
        config = check_config(
            changed("datasets.aicca", {**DEFAULT["datasets"]["aicca"], **changes})
        )
        return recipes.fetch(config, "aicca"), recipes.pack(config, "bench-aicca")

    fetch, packed = both()
    for changes in ({"max_minutes": 1.0}, {"max_distance_km": 9.0}, {"split": {"seed": 1}}):
        again, other = both(**changes)
        assert again == fetch
        assert other != packed
    assert both(label="Another") == (fetch, packed)
    assert packed["datasets"] == ["sample-modis"]
    assert packed["labels"]["dataset"] == "aicca"
    assert packed["synthetic"] is True


def test_a_probe_on_labelled_sample_chips_is_marked_synthetic():
    assert recipes.probe(check_config(DEFAULT), "modis-simmim", "aicca")["synthetic"] is True


def test_the_job_compares_the_labels_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Jobs(check_config(DEFAULT)).pack("bench-aicca")
    assert job.inputs() == {}
    (tmp_path / "data" / "manifests").mkdir(parents=True)
    (tmp_path / "data" / "manifests" / "aicca.jsonl").write_text("")
    assert set(job.inputs()) == {"manifest:aicca"}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("datasets.aicca.chips", ["ucm"], "datasets.aicca.chips: 'ucm' is no dataset of MODIS"),
        ("datasets.aicca.chips", ["modis"], "no dataset is called 'modis'"),
        ("datasets.aicca.chips", [], "datasets.aicca.chips: .*at least 1"),
        ("datasets.aicca.split", {"train": 0.9, "test": 0.2}, "is 1.1; it must be at most 1"),
        ("datasets.aicca.max_distance_km", 0, "greater than 0"),
        ("benchmarks.aicca.max_set_aside", 0.1, "max_set_aside: does not apply to chips"),
        ("corpora.modis.datasets", ["sample-modis", "aicca"], "labels are for benchmarks"),
    ],
)
def test_what_the_configuration_cannot_mean_is_refused(path, value, words):
    with pytest.raises(UserError, match=words):
        check_config(changed(path, value))
