"""The example of distillation, on tiny data."""

import keras
import pytest

from recipes import Recipe, load_data
from recipes.run import FORMAT_VERSION, Run


@pytest.mark.slow
def test_it_learns_from_a_finished_run(program, tiny_run, tiny_source, tmp_path, capsys):
    teacher = str(tiny_run.path("model.keras"))
    arguments = ["--width", "4", "--epochs", "20", "--out", str(tmp_path / "student.keras")]
    assert program.main([teacher, tiny_source, *arguments]) == 0
    said = capsys.readouterr().out.splitlines()
    teacher_line, student_line = said[-2:]
    assert teacher_line.startswith("teacher: ")
    accuracy = float(student_line.rpartition(" ")[2])
    assert accuracy > 0.6, "three kinds of clothes, a third by chance"
    student = keras.models.load_model(tmp_path / "student.keras")
    assert f"student: {student.count_params():,} parameters" in student_line
    assert student.count_params() < tiny_run.metrics["parameters"] / 2


def test_images_of_a_run_are_divided_as_it_divided_them(program, tiny_source, tmp_path):
    data = load_data(tiny_source, seed=7, validation=0.3)
    run = Run.create(
        tmp_path / "run", Recipe("mine"), data.to_dict(), {"format_version": FORMAT_VERSION}
    )
    for source in (None, tiny_source):
        found = program.labelled_images(str(run.path("model.keras")), source)
        assert (found.fingerprint, found.batch_size) == (data.fingerprint, 128)


def test_a_teacher_of_other_classes_is_one_line(program, tiny_source, tmp_path, capsys):
    inputs = keras.Input((28, 28, 1))
    teacher = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))
    teacher.save(tmp_path / "ten.keras")
    arguments = ["--width", "4", "--out", str(tmp_path / "student.keras")]
    assert program.main([str(tmp_path / "ten.keras"), tiny_source, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("distill: student")
    assert "has 3 classes, teacher" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "student.keras").exists()
