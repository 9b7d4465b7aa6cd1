"""The code digest follows imports and sees code, not comments."""

import shutil

import pytest

from tests.conftest import ROOT
from workflow_scripts.code_digest import NEUTRAL, code_digest, import_closure


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "workflow_scripts"
    (folder / "stage_a" / "inner").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "logs.py": "LEVEL = 1\n",
        "shared.py": '"""Doc."""\nVALUE = 1\n',
        "unused.py": "VALUE = 2\n",
        "stage_a/__init__.py": "",
        "stage_a/__main__.py": "from workflow_scripts.stage_a.work import work\nwork()\n",
        "stage_a/work.py": (
            '"""What it does."""\nfrom .inner import deep\nfrom workflow_scripts import shared\n'
            'import workflow_scripts.logs\n\n\ndef work():\n    """Works."""\n'
            "    from workflow_scripts.stage_a import lazy\n    return shared.VALUE, deep, lazy\n"
        ),
        "stage_a/lazy.py": "X = 1\n",
        "stage_a/inner/__init__.py": "from . import deep\n",
        "stage_a/inner/deep.py": "Y = 1\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return tmp_path


def digest(package):
    code_digest.cache_clear()
    return code_digest("stage_a", package)


def test_closure_follows_every_kind_of_import(package):
    names = {name.removeprefix("workflow_scripts.") for name in import_closure("stage_a", package)}
    assert names == {
        "workflow_scripts",
        "shared",
        "stage_a",
        "stage_a.__main__",
        "stage_a.work",
        "stage_a.lazy",
        "stage_a.inner",
        "stage_a.inner.deep",
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("stage_a/work.py", '"""Works."""', '"""Works well."""', False),
        ("stage_a/work.py", '"""What it does."""', '"""Another."""', False),
        ("stage_a/work.py", "def work():", "# why\n\ndef work():  # here", False),
        ("stage_a/work.py", "return shared.VALUE", "return 2 * shared.VALUE", True),
        ("shared.py", "VALUE = 1", "VALUE = 3", True),
        ("stage_a/lazy.py", "X = 1", "X = 2", True),
        ("stage_a/inner/deep.py", "Y = 1", "Y = 2", True),
        ("logs.py", "LEVEL = 1", "LEVEL = 2", False),
        ("unused.py", "VALUE = 2", "VALUE = 3", False),
    ],
)
def test_digest_changes_with_code_that_can_change_the_result(package, file, old, new, changes):
    before = digest(package)
    path = package / "workflow_scripts" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert (digest(package) != before) is changes


def test_unknown_stage_is_an_error(package):
    with pytest.raises(ValueError, match=r"no module workflow_scripts\.stage_b"):
        import_closure("stage_b", package)


def test_neutral_modules_exist():
    for name in NEUTRAL:
        place = ROOT / name.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), name


@pytest.mark.parametrize(
    "stage",
    ["fetch", "tile", "pack", "weights", "pretrain", "export", "snapshot", "split", "features",
     "probe", "finetune", "card", "scaling", "study", "forecast", "report", "crate", "compare"],
)  # fmt: skip
def test_no_stage_imports_the_config_models(stage):
    closure = import_closure(stage)
    assert f"workflow_scripts.{stage}.__main__" in closure
    assert not {name for name in closure if name.startswith("workflow_scripts.config")}
    beside = {f"workflow_scripts.{name}" for name in ("recipes", "jobs", "studies")}
    assert not beside & set(closure)


def test_trainer_and_probe_depend_on_the_reader_but_not_on_the_writer():
    for stage in ("pretrain", "probe"):
        closure = import_closure(stage)
        assert "workflow_scripts.shards.reader" in closure
        assert "workflow_scripts.shards.writer" not in closure


def test_how_granules_come_to_be_there_is_no_part_of_the_chips():
    closure = {name.removeprefix("workflow_scripts.") for name in import_closure("tile")}
    assert {"tile.day", "tile.granules", "tile.chips"} <= closure
    absent = ("tile.at_hand", "tile.room", "transfer", "fetch.laads")
    assert not [name for name in closure if name.startswith(absent)]


def test_counted_operations_and_times_to_stop_are_no_result_of_a_run_and_make_a_plan():
    """A plan's jobs are as long as `pretrain.stop` lets them train."""
    makes = {"workflow_scripts.models.flops", "workflow_scripts.pretrain.stop"}
    assert not makes & set(import_closure("pretrain"))
    assert not makes - set(import_closure("forecast"))


def test_digest_is_the_same_from_another_place(tmp_path):
    shutil.copytree(ROOT / "workflow_scripts", tmp_path / "workflow_scripts")
    code_digest.cache_clear()
    assert code_digest("pack", tmp_path) == code_digest("pack")


def test_a_template_beside_a_package_counts_as_code(package):
    before = digest(package)
    template = package / "workflow_scripts" / "stage_a" / "page.html.j2"
    template.write_text("one")
    first = digest(package)
    template.write_text("two")
    assert len({before, first, digest(package)}) == 3


def test_every_template_of_the_report_counts_in_its_digest():
    covered = {file.parent for file in import_closure("report").values() if file.stem == "__init__"}
    templates = [*(ROOT / "workflow_scripts" / "report").rglob("*.j2")]
    assert len(templates) > 10
    assert {template.parent for template in templates} <= covered
