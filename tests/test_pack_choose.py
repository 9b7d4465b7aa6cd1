"""Which images a corpus holds: order, copies, splits that never leak, test images of benchmarks."""

import itertools
import tracemalloc

import pytest
from image_sets import RECIPE, judge, pack, photos, write_dataset

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, read_manifest, write_manifest
from workflow_scripts.pack import buckets, choose
from workflow_scripts.pack.choose import Tally, plan_shards

JUDGED = {"handling": "exclude", "benchmarks": {"places": "places"}}


def tables(manifests, changes):
    """Tables of splits of the benchmarks that a recipe names, by the datasets' own."""
    wanted = changes.get("benchmark_test", RECIPE["benchmark_test"])["benchmarks"]
    return {name: judge(dict(manifests)[dataset]) for name, dataset in wanted.items()}


def chosen(manifests, folder, judged=None, **changes):
    """Keys in order, and the tally."""
    tally = Tally()
    folder.mkdir(exist_ok=True)
    judged = judged or tables(manifests, changes)
    found = choose.choose(manifests, {**RECIPE, **changes}, tally, scratch=folder, judged=judged)
    return [candidate.key for candidate in found], tally


def split_folders(tmp_path):
    """Three contents, each once or twice: 0 in train and test, 1 in train and val, 2 in train."""
    files = {}
    for number, splits in enumerate((("train", "test"), ("train", "val"), ("train", "train"))):
        (data, _, _), *_ = photos([number]).values()
        for place, split in enumerate(splits):
            files[f"{split}/{number}-{place}.jpg"] = (data, split, "river")
    return [write_dataset(tmp_path, "places", files)]


def test_the_order_is_that_of_content_then_key_whatever_the_buckets(tmp_path, monkeypatch):
    manifest = tmp_path / "places.jsonl"
    items = [
        Item(key=f"{n}", path="-", sha256=f"{n % 97 * 7919 % 251:02x}" * 32, bytes=1)
        for n in range(300)
    ]
    write_manifest(manifest, items)
    expected = [f"places/{one.key}" for one in sorted(items, key=lambda i: (i.sha256, i.key))]
    for size in (2**20, 1000, 10):
        monkeypatch.setattr(buckets, "_BUCKET_BYTES", size)
        monkeypatch.setattr(buckets, "_WAITING_BYTES", size)
        keys, tally = chosen([("places", manifest)], tmp_path / f"{size}")
        assert keys == expected
        assert tally.count == 300
        assert not list((tmp_path / f"{size}").iterdir())


def test_replacing_an_image_leaves_the_order_of_the_others(tmp_path):
    manifests = [write_dataset(tmp_path, "places", photos(range(20)))]
    before, _ = chosen(manifests, tmp_path / "a")
    (new,) = photos([99]).values()
    manifests = [write_dataset(tmp_path, "places", photos(range(20)) | {"river/007.jpg": new})]
    after, _ = chosen(manifests, tmp_path / "b")
    assert before != sorted(before)
    replaced = "places/river/007.jpg"
    assert [k for k in before if k != replaced] == [k for k in after if k != replaced]


def test_shards_are_cut_by_the_size_of_their_sources(tmp_path):
    manifests = [write_dataset(tmp_path, "places", photos(range(9)))]
    sizes = {f"places/{one.key}": one.bytes for one in read_manifest(manifests[0][1])}
    tally = Tally()
    found = choose.choose(manifests, RECIPE, tally, scratch=tmp_path)
    limit = 3 * max(sizes.values())
    plan = plan_shards(found, limit, tmp_path)
    rows = [[one.key for one in buckets.read_lines(path)] for path in plan]
    assert [path.name for path in plan] == [f"shard-{n:05d}.jsonl" for n in range(len(plan))]
    assert len(plan) > 1
    for shard, following in itertools.pairwise(rows):
        filled = sum(sizes[key] for key in shard)
        assert filled <= limit < filled + sizes[following[0]]
    (alone, *_) = plan_shards(
        choose.choose(manifests, RECIPE, tally, scratch=tmp_path), 1, tmp_path
    )
    assert len(list(buckets.read_lines(alone))) == 1


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_copies_never_lie_in_two_splits_the_most_protected_keeps_its_own(tmp_path, duplicates):
    body, corpus = pack(split_folders(tmp_path), tmp_path / "out", duplicates=duplicates)
    of_two = ["places/train/2-0.jpg", "places/train/2-1.jpg"]
    kept = of_two if duplicates == "keep" else of_two[:1]
    assert sorted(corpus.keys) == ["places/test/0-1.jpg", *kept, "places/val/1-1.jpg"]
    expected = {"copy of an image of a more protected split": 2}
    assert body["left_out"] == expected | ({"duplicate": 1} if duplicates == "drop" else {})


def test_a_copy_of_a_test_image_stays_out_of_a_corpus_of_training_images(tmp_path):
    keys, tally = chosen(split_folders(tmp_path), tmp_path / "s", splits=["train"])
    assert sorted(keys) == ["places/train/2-0.jpg", "places/train/2-1.jpg"]
    assert tally.left_out == {"copy of an image of a more protected split": 2}


def test_copies_in_two_datasets_do_not_leak_either(tmp_path):
    (data, _, _), *_ = photos([0]).values()
    manifests = [
        write_dataset(tmp_path, "web", {"a.jpg": (data, None, None)} | photos([1])),
        write_dataset(tmp_path, "places", {"b.jpg": (data, "val", None)}),
    ]
    keys, tally = chosen(manifests, tmp_path / "s")
    assert sorted(keys) == ["places/b.jpg", "web/river/001.jpg"]
    assert tally.left_out == {"copy of an image of a more protected split": 1}


@pytest.mark.parametrize("benchmarks", [{"places": "places"}, {}])
def test_what_is_excluded_by_key_still_protects_its_copies(tmp_path, benchmarks):
    keys, tally = chosen(
        split_folders(tmp_path),
        tmp_path / "s",
        exclude=["places/test/*"],
        benchmark_test={**JUDGED, "benchmarks": benchmarks},
    )
    assert not [key for key in keys if "/0-" in key]
    assert tally.left_out["excluded by key"] == 1
    assert tally.left_out["copy of an image of a more protected split"] == 2


@pytest.mark.parametrize("exclude", [[], ["places/b.jpg"]])
@pytest.mark.parametrize(
    ("split", "splits"), [("test", None), ("test", ["test"]), ("val", None), (None, None)]
)
def test_a_benchmark_s_test_image_does_not_come_in_by_a_copy_in_another_dataset(
    tmp_path, split, splits, exclude
):
    (data, _, _), *_ = photos([0]).values()
    manifests = [
        write_dataset(tmp_path, "web", {"a.jpg": (data, split, None)} | photos([1], "test")),
        write_dataset(tmp_path, "places", {"b.jpg": (data, "test", None)}),
    ]
    changes = {"splits": splits, "exclude": exclude}
    keys, tally = chosen(manifests, tmp_path / "s", benchmark_test=JUDGED, **changes)
    assert keys == ["web/river/001.jpg"]
    assert tally.left_out.total() == 2
    kept = {**JUDGED, "handling": "keep"}
    keys, _ = chosen(manifests, tmp_path / "t", benchmark_test=kept, **changes)
    assert ("web/a.jpg" in keys) == (split == "test")


def test_exclude_knows_no_sign_but_the_star(tmp_path):
    names = ["a[1]", "a1", "b?", "bc", "d.e", "dxe"]
    contents = photos(range(6)).values()
    files = {f"{name}.jpg": one for name, one in zip(names, contents, strict=True)}
    manifests = [write_dataset(tmp_path, "places", files)]
    left = ["places/a[1]*", "places/b?.jpg", "places/d.e.jpg"]
    keys, _ = chosen(manifests, tmp_path / "s", exclude=left)
    assert sorted(keys) == ["places/a1.jpg", "places/bc.jpg", "places/dxe.jpg"]
    with pytest.raises(UserError, match="matches no key"):
        chosen(manifests, tmp_path / "t", exclude=["places/[ab]1.jpg"])


def test_memory_does_not_grow_with_the_copies_of_one_content(tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "_RUN", 500)
    most = []
    for count in (2_000, 20_000):
        manifest = tmp_path / f"{count}.jsonl"
        blank = (Item(key=f"{n:06d}", path="-", sha256="ab" * 32, bytes=1) for n in range(count))
        write_manifest(manifest, blank)
        folder = tmp_path / f"{count}"
        folder.mkdir()
        tracemalloc.start()
        found = choose.choose([("places", manifest)], RECIPE, Tally(), scratch=folder)
        before = ""
        for one in found:
            assert one.key > before
            before = one.key
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert before == f"places/{count - 1:06d}"
        assert not list(folder.iterdir())
    # What is waiting for its bucket is bounded too, by a mebibyte that the small one does not fill.
    assert most[1] < most[0] + 2 * 2**20


def test_copies_kept_lie_next_to_each_other(tmp_path):
    (data, _, _), *_ = photos([5]).values()
    copies = {f"copy{n}.jpg": (data, "train", None) for n in (3, 1, 2)}
    manifests = [write_dataset(tmp_path, "places", photos(range(20), "train") | copies)]
    keys, _ = chosen(manifests, tmp_path / "s")
    first = keys.index("places/copy1.jpg")
    assert keys[first : first + 4] == [
        "places/copy1.jpg", "places/copy2.jpg", "places/copy3.jpg", "places/river/005.jpg",
    ]  # fmt: skip
    dropped, _ = chosen(manifests, tmp_path / "t", duplicates="drop")
    assert dropped == [key for key in keys if key not in keys[first + 1 : first + 4]]


def test_test_images_of_a_benchmark_are_left_out_with_their_copies(tmp_path):
    manifests = split_folders(tmp_path)
    judged = {"places": judge(manifests[0][1])}
    body, corpus = pack(manifests, tmp_path / "out", benchmark_test=JUDGED, judged=judged)
    assert not [key for key in corpus.keys if "/0-" in key]
    assert body["left_out"]["test image of a benchmark"] == 1
    assert body["benchmark_test"] == {"handling": "exclude", "images": {"places": 1}}


def test_test_images_of_a_benchmark_are_kept_where_the_configuration_says_so(tmp_path):
    handling = {**JUDGED, "handling": "keep"}
    manifests = split_folders(tmp_path)
    judged = {"places": judge(manifests[0][1])}
    body, corpus = pack(manifests, tmp_path / "out", benchmark_test=handling, judged=judged)
    assert "places/test/0-1.jpg" in corpus.keys
    assert body["benchmark_test"] == {"handling": "keep", "images": {"places": 1}}


def test_a_corpus_of_which_nothing_is_left_tells_why(tmp_path):
    manifests = [write_dataset(tmp_path, "places", photos(range(3), "test"))]
    judged = {"places": judge(manifests[0][1])}
    with pytest.raises(UserError, match=r"left out: 3 × test image of a benchmark"):
        pack(manifests, tmp_path / "out", benchmark_test=JUDGED, judged=judged)
    assert not (tmp_path / "out" / ".packing").exists()


@pytest.mark.data
def test_the_two_equal_images_of_uc_merced_are_kept_together_or_once(shared_data, tmp_path):
    folder = shared_data / "ucm" / "airplane"
    files = {f.name: (f.read_bytes(), "train", None) for f in sorted(folder.glob("*.jpg"))[:12]}
    manifests = [write_dataset(tmp_path, "ucm", files)]
    keys, _ = chosen(manifests, tmp_path / "a")
    place = keys.index("ucm/airplane01.jpg")
    assert keys[place + 1] == "ucm/airplane02.jpg"
    dropped, tally = chosen(manifests, tmp_path / "b", duplicates="drop")
    assert dropped == [key for key in keys if key != "ucm/airplane02.jpg"]
    assert tally.left_out == {"duplicate": 1}
