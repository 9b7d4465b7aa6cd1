"""What differs between a run and its checkpoints under other digests."""

import json
import os

import pytest

from workflow_scripts.pretrain import earlier

NOW = {
    "recipe": {"seed": 1, "optim": {"base_lr": 0.1}}, "content": "c" * 64, "code": "a" * 64,
    "teacher": None, "run_digest": "d" * 64,
}  # fmt: skip


@pytest.fixture
def store(tmp_path):
    ages = iter(range(10))

    def one(digest, *steps, **changes):
        """An identity that differs from NOW, stored a second after the one before."""
        folder = tmp_path / "checkpoints" / (digest * 16)
        folder.mkdir(parents=True)
        for step in steps:
            (folder / f"step-{step:09d}").mkdir()
        path = folder / "identity.json"
        path.write_text(json.dumps({**NOW, "run_digest": digest * 64, **changes}))
        os.utime(path, (0, next(ages)))
        return folder

    def named(**changes):
        return [row["differs"] for row in earlier.others(tmp_path, {**NOW, **changes})]

    one.named, one.run = named, tmp_path
    return one


def test_each_field_that_differs_is_named_and_the_newest_comes_first(store):
    store("1", 5, recipe={"seed": 1, "optim": {"base_lr": 0.2}}, content="b" * 64)
    store("2", 7, 9, teacher="e" * 64)
    store("3")  # nothing saved
    first, second = earlier.others(store.run, NOW)
    assert (first["run_digest"], first["step"]) == ("2" * 64, 9)
    assert first["differs"] == ["teacher is gone (was eeeeeeeeeeee)"]
    assert second["differs"] == ["optim.base_lr 0.2 → 0.1", "corpus bbbbbbbbbbbb → cccccccccccc"]
    assert earlier.pin("mae", first) == 'runs.mae.pinned: "2222222222222222"'


def test_fields_that_an_older_identity_did_not_have_are_compared_too(store):
    store("1", 5)
    assert store.named(start="f" * 64) == [["start is new (ffffffffffff)"]]
    assert store.named(start=None) == [["an older way to make the digest"]]


def test_a_run_with_checkpoints_of_its_own_has_nothing_to_tell(store, tmp_path):
    store("1", 5, code="b" * 64)
    own = store("d")
    assert store.named() == [["code bbbbbbbbbbbb → aaaaaaaaaaaa"]]
    earlier.tell(store.run, own, NOW)
    assert [row["step"] for row in earlier.told(own)] == [5]
    (own / "step-000000001").mkdir()
    assert store.named() == []
    part = {"recipe": NOW["recipe"], "code": NOW["code"]}
    assert earlier.others(store.run, part) == []


def test_of_many_differences_the_first_are_named():
    row = {"run_digest": "1" * 64, "step": 5, "differs": [f"a{n} 1 → 2" for n in range(11)]}
    assert earlier.in_words(row).endswith(", a7 1 → 2 and 3 more")
