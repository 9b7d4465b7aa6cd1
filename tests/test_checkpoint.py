import pytest
from tiny_runs import Trainee, assert_same, tiny_images

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain import checkpoint, saved


@pytest.fixture
def index(tmp_path):
    return tiny_images(tmp_path / "corpus")


def test_a_checkpoint_brings_back_weights_moments_and_meta_bit_for_bit(tmp_path, index):
    one = Trainee(index)
    one.steps(0, 3)
    one.save(tmp_path / "c", 3, window={"count": 2})
    other = Trainee(index)
    meta = other.load(tmp_path / "c", 3)
    assert meta == {"window": {"count": 2}, "step": 3}
    assert_same(other.tensors(), one.tensors())
    assert other.steps(3, 6) == one.steps(3, 6)
    assert_same(other.tensors(), one.tensors())


def test_the_last_two_are_kept_and_nothing_half_written_counts(tmp_path, index):
    root, one = tmp_path / "c", Trainee(index)
    assert saved.latest(root) is None
    for step in (1, 2, 3):
        one.save(root, step)
    (root / ".step-000000009.tmp").mkdir()
    (root / "step-12").mkdir()  # not a name of ours
    assert saved.steps(root) == [2, 3]
    assert saved.latest(root) == 3
    saved.clear_leftovers(root)
    names = sorted(path.name for path in root.iterdir())
    assert names == ["step-000000002", "step-000000003", "step-12"]


def test_a_save_that_dies_leaves_the_one_before(tmp_path, index, monkeypatch):
    root, one = tmp_path / "c", Trainee(index)
    one.save(root, 1)
    before = one.tensors()

    def dying(*_args, **_kwargs):
        raise KeyboardInterrupt

    one.steps(0, 1)
    for name in ("write_json", "_publish"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, name, dying)
            with pytest.raises(KeyboardInterrupt):
                one.save(root, 2)
        assert saved.latest(root) == 1
    other = Trainee(index)
    other.load(root, 1)
    assert_same(other.tensors(), before)
    one.save(root, 2)  # over what the dead one left
    assert saved.steps(root) == [1, 2]


def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path, index):
    root, one = tmp_path / "c", Trainee(index)
    one.save(root, 1)
    for file in (root / "step-000000001").glob("*.distcp"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="step-000000001: the checkpoint cannot be loaded"):
        Trainee(index).load(root, 1)
