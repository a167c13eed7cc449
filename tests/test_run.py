"""The run directory: what is refused before any work, what is read, what survives."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipes import load_data
from recipes.config import Recipe
from recipes.errors import RunError
from recipes.files import atomic_path, write_json
from recipes.run import FORMAT_VERSION, Run, check_output

RECIPE = Recipe(name="x")
DATA = {"source": "somewhere", "fingerprint": "abc"}
ENVIRONMENT = {"format_version": FORMAT_VERSION, "precision": "float32"}


def _create(folder, environment=ENVIRONMENT):
    return Run.create(folder, RECIPE, DATA, environment)


def _draw(folder, *classes):
    """Write four images for each class."""
    for kind in classes:
        (folder / kind).mkdir(parents=True)
        for index in range(4):
            grey = 10 * index + len(kind)
            Image.new("L", (8, 8), grey).save(folder / kind / f"{index}.png")


def test_create_and_read(tmp_path):
    run = _create(tmp_path / "deep" / "run")
    again = Run(tmp_path / "deep" / "run")
    assert again.recipe == RECIPE
    assert (again.data, again.environment) == (DATA, ENVIRONMENT)
    assert (again.history, again.metrics, again.export, again.finished) == ([], None, None, False)
    run.write_history([{"epoch": 1, "val_loss": float("nan"), "val_recall": [None, 0.5]}])
    assert again.history == [{"epoch": 1, "val_loss": None, "val_recall": [None, 0.5]}]


def test_a_new_empty_or_missing_folder_is_fine(tmp_path):
    check_output(tmp_path, resume=False)
    check_output(tmp_path / "a" / "b", resume=False)
    assert not (tmp_path / "a").exists(), "checking writes nothing"


def test_what_is_in_the_way(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(RunError, match="is a file, expected a folder"):
        check_output(file, resume=False)
    with pytest.raises(RunError, match="is not a writable folder"):
        check_output(file / "run", resume=False)
    with pytest.raises(RunError, match="not empty and is not a run"):
        check_output(tmp_path, resume=False)
    with pytest.raises(RunError, match="no run to resume"):
        check_output(tmp_path, resume=True)


def test_a_run_among_the_images_is_refused(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="lies in the folder of images"):
        check_output(tmp_path / "photos" / "run", resume=False, source=tmp_path)
    check_output(tmp_path / "run", resume=False, source=tmp_path / "photos")
    _draw(tmp_path / "photos", "cat", "dog")
    data = load_data(tmp_path / "photos")
    with pytest.raises(RunError, match="lies in the folder of images .*photos"):
        check_output(tmp_path / "photos" / "run", resume=False, source=data)
    check_output(tmp_path / "run", resume=False, source=data)
    monkeypatch.chdir(tmp_path)
    Path("fashion-mini", "run").mkdir(parents=True)
    check_output("fashion-mini/other", resume=False, source="fashion-mini")
    in_memory = load_data((np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1]))
    check_output(tmp_path / "run", resume=False, source=in_memory)


def test_what_a_killed_start_leaves_is_not_in_the_way(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "environment.json").write_text('{"format_version": 1}')
    (tmp_path / ".data.x1y2.partial.json").write_text("{")
    check_output(tmp_path, resume=False)
    (tmp_path / "checkpoints" / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="not empty and is not a run"):
        check_output(tmp_path, resume=False)


def test_a_file_of_the_user_s_own_is_in_the_way(tmp_path):
    (tmp_path / "data.json").write_text('{"my": "annotations"}')
    with pytest.raises(RunError, match="not empty and is not a run"):
        check_output(tmp_path, resume=False)


def test_an_interrupted_and_a_finished_run(tmp_path):
    run = _create(tmp_path)
    check_output(tmp_path, resume=True)
    hint = re.escape(f"recipes train --resume {tmp_path}")
    with pytest.raises(RunError, match=f"interrupted run; go on with: {hint} .resume=True in "):
        check_output(tmp_path, resume=False)
    run.path("model.keras").write_bytes(b"")
    write_json(run.path("metrics.json"), {})
    assert run.finished
    with pytest.raises(RunError, match="already holds a finished run; choose another folder$"):
        check_output(tmp_path, resume=False)
    write_json(run.path("data.json"), {**run.data, "reload": {"source": "fashion-mini"}})
    hint = re.escape(f"recipes export {tmp_path}")
    with pytest.raises(RunError, match=f"choose another folder, or export it with: {hint}$"):
        check_output(tmp_path, resume=False)
    write_json(run.path("export.json"), {})
    with pytest.raises(RunError, match="already holds a finished run; choose another folder$"):
        check_output(tmp_path, resume=False)


@pytest.mark.parametrize("labels", [None, ["dog", "cat"]])
def test_a_class_more_is_said_of_the_images_and_not_of_the_labels(labels, tmp_path):
    """Also where the names are stored, as they were for each run at first."""
    photos = tmp_path / "photos"
    _draw(photos, "cat", "dog")
    data = load_data(photos, labels=labels)
    run = Run.create(tmp_path / "run", RECIPE, data.to_dict(), ENVIRONMENT)
    assert run.load_data().class_names == data.class_names
    _draw(photos, "bird")
    with pytest.raises(RunError, match="the images of .*photos are no longer those of .*run: "):
        run.load_data()


def test_a_run_of_another_version(tmp_path):
    _create(tmp_path / "a")
    path = tmp_path / "a" / "environment.json"
    path.write_text(json.dumps({**ENVIRONMENT, "format_version": 99}))
    for use in (lambda: Run(tmp_path / "a"), lambda: check_output(tmp_path / "a", resume=True)):
        with pytest.raises(RunError, match="run format 99, this version reads format"):
            use()


def test_not_a_run(tmp_path):
    with pytest.raises(RunError, match="no run directory"):
        Run(tmp_path / "none")
    with pytest.raises(RunError, match="no recipe.json"):
        Run(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        Run(tmp_path / "file")
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(RunError, match="cannot read"):
        Run(tmp_path)


def test_a_full_disk_is_one_line_and_leaves_no_run(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recipes.run.write_json", full)
    with pytest.raises(RunError, match="cannot write to .*: No space left on device"):
        _create(tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_atomic_path_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]
