"""How the programs of the stages take their recipe and end on errors."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from workflow_scripts.errors import UserError
from workflow_scripts.stage import read_recipe


def pack(*words):
    command = [sys.executable, "-m", "workflow_scripts.pack", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_recipe_is_text_or_a_file(tmp_path):
    (tmp_path / "recipe.json").write_text('{"a": 1}')
    assert read_recipe('{"a": 1}') == read_recipe(str(tmp_path / "recipe.json")) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "words"), [("{a}", "not valid JSON"), ("missing.json", "missing.json: no such file")]
)
def test_unusable_recipe_is_told(text, words):
    with pytest.raises(UserError, match=words):
        read_recipe(text)


def test_recipe_that_is_no_object_is_told(tmp_path):
    (tmp_path / "recipe.json").write_text("[1]")
    with pytest.raises(UserError, match="must be a JSON object, not list"):
        read_recipe(str(tmp_path / "recipe.json"))


def test_user_error_ends_with_its_text_and_one_and_is_in_the_log(tmp_path):
    words = ("--index", str(tmp_path / "i.json"), "--manifests", "m.jsonl")
    done = pack("--recipe", "{a}", *words, "--log", str(tmp_path / "log"))
    assert done.returncode == 1
    assert "--recipe is not valid JSON" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "log").read_text() == done.stderr
