"""What workers are given: mapped images, and their part of the cores."""

from pathlib import Path

import numpy as np
import pytest

from recipes import ConfigError

pytest.importorskip("keras_tuner")

import keras_tuner

from tuning._search_crew import Crew, threads_each
from tuning._search_job import Job, check_subject, read_job, write_job
from tuning._search_subjects import subject_of

SPACE = {"optimizer.learning_rate": "log 1e-3..1", "model.width": [4, 8, 16]}


def test_a_job_is_mapped(recipe, data, tmp_path):
    subject = subject_of(recipe, SPACE, 2)
    subject.load(data)
    # TensorFlow's copy does not travel.
    subject.data.splits["train"].pipeline(8)
    write_job(tmp_path / "w", Job(subject, tmp_path, {"a": 1}, "val_accuracy", "max", True, False))
    job = read_job(tmp_path / "w")
    assert (job.plan, job.subject.recipe, job.subject.space) == ({"a": 1}, recipe, subject.space)
    assert job.subject.data.fingerprint == data.fingerprint
    for name, split in subject.data.splits.items():
        mine = job.subject.data.splits[name]
        np.testing.assert_array_equal(mine.labels, split.labels)
        np.testing.assert_array_equal(mine.images, split.images)
        assert not mine.images.flags.owndata
        assert "_tensor" not in vars(mine)
    images = subject.data.splits["train"].images[3].tobytes()
    assert images in (tmp_path / "w" / "arrays").read_bytes()
    assert images not in (tmp_path / "w" / "job").read_bytes()


class Own(keras_tuner.HyperModel):
    """A user's own."""

    def build(self, hp):
        raise NotImplementedError


def test_what_cannot_be_sent_is_refused(data):
    import tensorflow as tf

    arrays = (np.zeros((4, 2)), np.zeros(4)), (np.zeros((4, 2)), np.zeros(4))
    good = subject_of(Own(), None, 1)
    for given in (arrays, data):
        good.load(given)
        check_subject(good)
    dataset = tf.data.Dataset.from_tensors(1)
    for model, given in ((lambda hp: None, arrays), (Own(), (dataset, dataset))):
        subject = subject_of(model, None, 1)
        subject.load(given)
        with pytest.raises(
            ConfigError, match="^workers need a model from a module.*received: "
        ) as e:
            check_subject(subject)
        assert "\n" not in str(e.value)


def test_cores_are_shared(monkeypatch):
    monkeypatch.setattr("tuning._search_crew.usable_cores", lambda: 8)
    assert [threads_each(count) for count in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    crew = Crew(2, 3, Job(None, Path(), {}, "val_loss", "min", True, False), print)
    assert [crew.is_worn("worker0", given) for given in (0, 2, 3)] == [False, False, True]
