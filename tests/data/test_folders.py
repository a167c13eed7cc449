"""Folders of images: layouts, findings, and one clear line for each kind of unusable source."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from recipes.data import check_data, checks, load_data, read_image
from recipes.errors import DataError


def kinds(report):
    return [problem.kind for problem in report.problems]


def find(report, kind):
    (problem,) = [problem for problem in report.problems if problem.kind == kind]
    return problem


def test_class_folders(make_folder):
    folder = make_folder({"dog": 20, "cat": 10})
    data = load_data(folder)
    assert data.class_names == ("cat", "dog")
    assert data.counts == {"train": [8, 16], "validation": [1, 2], "test": [1, 2]}
    assert data.image_shape == (12, 12, 3)
    for split in data.splits.values():
        for index, path in enumerate(split.paths):
            assert os.path.basename(os.path.dirname(path)) == data.class_names[split.labels[index]]
            np.testing.assert_array_equal(split.images[index], np.asarray(Image.open(path)))
    assert len({path for split in data.splits.values() for path in split.paths}) == 30
    assert load_data(folder, labels=["dog", "cat"]).counts["train"] == [16, 8]


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Val"])
def test_given_splits(make_folder, validation):
    for seed, (split, counts) in enumerate(
        {"train": (6, 5), validation: (3, 2), "test": (1, 2)}.items()
    ):
        folder = make_folder(
            {f"{split}/a": counts[0], f"{split}/b": counts[1]}, first_seed=100 * seed
        )
    data = load_data(folder)
    assert data.counts == {"train": [6, 5], "validation": [3, 2], "test": [1, 2]}
    assert data.problems == ()
    shutil.rmtree(folder / validation)
    data = load_data(folder, validation=0.2)
    assert data.counts == {"train": [5, 4], "validation": [1, 1], "test": [1, 2]}


def test_nested_hidden_linked_and_odd_names(make_folder, tmp_path):
    folder = make_folder({"a": 4, "b": 4, "b/more/deep": 2})
    outside = make_folder({"x": 3}, root="outside", first_seed=50)
    (folder / "a" / "link").symlink_to(outside / "x")
    (folder / "a" / "loop").symlink_to(folder / "a")
    (folder / ".git").mkdir()
    (folder / "__MACOSX").mkdir()
    for name in (".DS_Store", "Thumbs.db", "._000.png"):
        (folder / "a" / name).write_bytes(b"x")
    (folder / "b" / "000.png").rename(folder / "b" / "no suffix")
    report = check_data(folder)
    assert report.counts == {"train": [7, 6]}
    assert report.problems == ()


def test_classes_called_train_and_test(make_folder):
    data = load_data(make_folder({"train": 5, "bus": 5, "test": 5}))
    assert data.class_names == ("bus", "test", "train")


def test_a_split_folder_without_classes_is_no_class(make_folder):
    folder = make_folder({"a": 4, "b": 4})
    for name in ("a", "b"):
        shutil.copytree(folder / name, folder / "train" / name)
    shutil.move(folder / "a", folder / "test")
    shutil.rmtree(folder / "b")
    for look in (check_data, load_data):
        with pytest.raises(DataError, match="train holds folders, .*test holds none"):
            look(folder)


def test_a_class_folder_whose_name_is_not_utf8(make_folder):
    folder = make_folder({"a": 4, "b": 4})
    os.rename(os.fsencode(folder / "a"), os.fsencode(folder) + b"/caf\xe9")
    for look in (check_data, load_data):
        with pytest.raises(DataError, match=r"class folder 'caf\\udce9' is not UTF-8; rename it"):
            look(folder)


def test_findings(make_folder):
    folder = make_folder({"a": 30, "b": 2})
    (folder / "a" / "notes.txt").write_text("hello")
    shutil.copy(folder / "a" / "000.png", folder / "a" / "copy.png")
    # The same pixels in another file: a copy all the same, here under another label.
    Image.open(folder / "a" / "001.png").save(folder / "b" / "copy.bmp")
    Image.new("RGB", (30, 5)).save(folder / "a" / "tiny.png")
    Image.new("RGB", (40, 40), "blue").save(folder / "stray.png")
    report = check_data(folder)
    assert report.ok
    assert set(kinds(report)) == {
        "stray-image",
        "not-an-image",
        "mixed-sizes",
        "unequal-classes",
        "duplicates",
        "contrary-labels",
        "tiny",
    }
    assert find(report, "not-an-image").paths == (str(folder / "a" / "notes.txt"),)
    assert find(report, "stray-image").paths == (str(folder / "stray.png"),)
    assert find(report, "tiny").paths == (str(folder / "a" / "tiny.png"),)
    assert set(find(report, "duplicates").paths) == {
        str(folder / "a" / "000.png"),
        str(folder / "a" / "copy.png"),
    }
    assert set(find(report, "contrary-labels").paths) == {
        str(folder / "a" / "001.png"),
        str(folder / "b" / "copy.bmp"),
    }
    assert (
        "heights 5 to 12 and widths 12 to 30; 32x32 is used" in find(report, "mixed-sizes").message
    )
    assert report.sizes == {
        "distinct": 2,
        "smallest": [12, 12],
        "median": [12, 12],
        "largest": [5, 30],
    }
    assert [problem.kind for problem in load_data(folder).problems] == kinds(report)


def test_few_images_for_the_splits(make_folder):
    folder = make_folder({"a": 10, "b": 2})
    problem = find(check_data(folder), "few-images")
    assert problem.message == (
        "fewer images than the 3 splits, so absent from some: 1 class, b (2)"
    )
    assert "few-images" not in kinds(check_data(folder, test=0))


def test_a_split_folder_without_images(make_folder):
    folder = make_folder({"train/a": 5, "train/b": 5, "test/a": 0, "test/b": 0})
    problem = find(check_data(folder), "empty-split")
    assert problem.severity == "warning"
    assert problem.message.startswith("the test split holds no images, and none are taken from the")
    assert load_data(folder).counts["test"] == [0, 0]


def test_leakage(make_folder):
    folder = make_folder({"train/a": 5, "train/b": 5})
    make_folder({"test/a": 3, "test/b": 3}, first_seed=90)
    shutil.copy(folder / "train" / "a" / "002.png", folder / "test" / "a" / "same.png")
    problem = find(check_data(folder), "leakage")
    assert problem.severity == "warning"
    assert set(problem.paths) == {
        str(folder / "train" / "a" / "002.png"),
        str(folder / "test" / "a" / "same.png"),
    }
    assert "leakage, 1 image in more than one split" in problem.message


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_held_out_together(make_folder, seed):
    folder = make_folder({"a": 15, "b": 15})
    for name in ("a", "b"):
        for number in range(0, 15, 2):
            path = folder / name / f"{number:03d}.png"
            shutil.copy(path, folder / name / f"copy{number:03d}.png")
    data = load_data(folder, seed=seed, validation=0.2, test=0.2)
    homes = [{image.tobytes() for image in split.images} for split in data.splits.values()]
    assert sum(map(len, homes)) == 30
    assert all(homes)
    assert len(set.union(*homes)) == 30


def corrupt(folder):
    """Spoil three files in three ways."""
    (folder / "a" / "000.png").write_bytes(b"")
    (folder / "a" / "001.png").write_bytes(b"not an image")
    path = folder / "b" / "000.png"
    path.write_bytes(path.read_bytes()[:-200])
    return [folder / "a" / "000.png", folder / "a" / "001.png", path]


@pytest.mark.parametrize("memory_limit", [2**31, 1])
def test_corrupt_files(make_folder, memory_limit):
    folder = make_folder({"a": 8, "b": 8})
    broken = corrupt(folder)
    with pytest.raises(DataError, match="cannot read 3 of 16 image files") as caught:
        load_data(folder, memory_limit=memory_limit)
    for path, reason in zip(broken, ("empty file", "not an image", "truncated"), strict=True):
        assert f"{path} ({reason}" in str(caught.value)
    report = check_data(folder)
    assert not report.ok
    assert find(report, "corrupt").paths == tuple(map(str, broken))
    assert report.counts == {"train": [6, 7]}
    data = load_data(folder, corrupt="skip", memory_limit=memory_limit)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 9,
        "validation": 2,
        "test": 2,
    }
    used = {path for split in data.splits.values() for path in split.paths}
    assert not used & set(map(str, broken))
    assert data.problems[0].severity == "warning"
    assert data.problems[0].paths == tuple(map(str, broken))


def spoil(folder):
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])


def empty(folder):
    for path in folder.rglob("*.png"):
        path.unlink()


def only_images(folder):
    for path in list(folder.rglob("*.png")):
        path.rename(folder / f"{path.parent.name}{path.name}")
    for place in list(folder.iterdir()):
        if place.is_dir():
            place.rmdir()


def nothing(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def one_class(folder):
    shutil.rmtree(folder / "b")


def empty_class(folder):
    (folder / "c").mkdir()


def only_test(folder):
    (folder / "test").mkdir()
    for name in ("a", "b"):
        (folder / name).rename(folder / "test" / name)


def other_classes(folder):
    only_test(folder)
    shutil.copytree(folder / "test", folder / "train")
    (folder / "train" / "b").rename(folder / "train" / "z")


def mixed_layout(folder):
    shutil.copytree(folder / "a", folder / "train" / "a")


def two_validations(folder):
    only_test(folder)
    for name in ("train", "val", "valid"):
        shutil.copytree(folder / "test", folder / name)


def text_only(folder):
    nothing(folder)
    (folder / "readme.txt").write_text("hello")


UNUSABLE = {
    spoil: r"no image file of .* can be read, of 8 found: .*000.png",
    empty: "the class folders of .* hold no images",
    only_images: "holds images but no class folders; expected one folder of images a class",
    nothing: "the folder .* is empty",
    one_class: r"there is only one class \(a\); expected two or more",
    empty_class: "the class c has no images to train on; add some or remove the class",
    only_test: "has a folder test but no folder train",
    other_classes: "the classes of .*test are not those of .*train: b, z are in one of them only",
    mixed_layout: r"holds both split folders \(train\) and others \(a, b\)",
    two_validations: "are both the validation split",
    text_only: "holds no class folders",
}


@pytest.mark.parametrize("spoiler", UNUSABLE, ids=lambda spoiler: spoiler.__name__)
def test_unusable_folders(make_folder, spoiler):
    folder = make_folder({"a": 4, "b": 4})
    spoiler(folder)
    for arguments in ({}, {"corrupt": "skip"}):
        with pytest.raises(DataError, match=UNUSABLE[spoiler]) as caught:
            load_data(folder, **arguments)
        assert "\n" not in str(caught.value)


def test_unusable_paths(make_folder, tmp_path):
    with pytest.raises(DataError, match=r"there is no folder /nowhere/at/all$"):
        load_data("/nowhere/at/all")
    with pytest.raises(DataError, match="did you mean 'fashion-mini'"):
        load_data("fashion-mimi")
    with pytest.raises(DataError, match="unknown kind of source 'tdfs'.*did you mean 'tfds'"):
        load_data("tdfs:mnist")
    file = tmp_path / "file.txt"
    file.write_text("x")
    with pytest.raises(DataError, match="is a file; expected a folder that holds"):
        load_data(file)
    folder = make_folder({"a": 4, "b": 4})
    with pytest.raises(DataError, match="labels must name the class folders"):
        load_data(folder, labels=["a", "c"])
    with pytest.raises(DataError, match="cannot read the class names"):
        load_data(folder, labels=tmp_path / "none.txt")


def test_unreadable_class_folder_in_the_whole_split(make_folder):
    # All of one class is corrupt: skipping would leave a class without images.
    folder = make_folder({"a": 4, "b": 4})
    spoil(folder / "a")
    with pytest.raises(DataError, match="cannot read 4 of 8 image files"):
        load_data(folder)
    with pytest.raises(DataError, match="the class a has no images"):
        load_data(folder, corrupt="skip")


def test_sizes(make_folder):
    folder = make_folder({"a": 3, "b": 3}, size=(100, 130))
    assert load_data(folder).image_shape == (100, 130, 3)
    assert load_data(folder, image_size=32).image_shape == (32, 32, 3)
    assert load_data(folder, image_size=(16, 24)).image_shape == (16, 24, 3)
    make_folder({"c": 1}, size=(101, 130), first_seed=50)
    data = load_data(folder)
    assert data.image_shape == (96, 96, 3)  # shorter sides 100: down to a multiple of 8
    assert [problem.kind for problem in data.problems] == ["mixed-sizes", "few-images"]


def test_large_input_is_warned_of(make_folder):
    folder = make_folder({"a": 3, "b": 3}, size=(20, 600))
    assert kinds(check_data(folder)) == ["large-input"]
    assert kinds(check_data(folder, image_size=32)) == []


def test_read_image_is_what_training_sees(make_folder):
    folder = make_folder({"a": 6, "b": 6}, size=(40, 55))
    for fit in ("crop", "stretch", "pad"):
        data = load_data(folder, image_size=24, fit=fit)
        split = data.splits["train"]
        for path, image in zip(split.paths, split.images, strict=True):
            np.testing.assert_array_equal(read_image(path, image_shape=(24, 24, 3), fit=fit), image)


def test_grey_folders(make_folder):
    folder = make_folder({"a": 5, "b": 5}, channels=1)
    assert load_data(folder).image_shape[2] == 1
    assert load_data(folder, color="rgb").image_shape[2] == 3
    # Grey pictures saved in colour are grey to the eye.
    for path in folder.rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    assert load_data(folder).image_shape[2] == 1
    Image.new("RGB", (12, 12), "red").save(folder / "a" / "000.png")
    assert load_data(folder).image_shape[2] == 3


def test_decoding_on_the_fly_gives_the_same_batches(make_folder):
    folder = make_folder({"a": 14, "b": 14}, size=(30, 26))
    cached = load_data(folder, image_size=16)
    lazy = load_data(folder, image_size=16, memory_limit=1)
    assert lazy.images_on_disk
    assert lazy.splits["train"].images is None
    assert lazy.fingerprint == cached.fingerprint
    assert lazy.statistics() == cached.statistics()
    for name in ("train", "validation", "test"):
        arguments = {"shuffle": True, "epochs": 2, "seed": 1}
        pairs = [data.splits[name].pipeline(8, **arguments) for data in (cached, lazy)]
        assert pairs[0].element_spec == pairs[1].element_spec
        for one, other in zip(*map(list, pairs), strict=True):
            for left, right in zip(one, other, strict=True):
                np.testing.assert_array_equal(left, right)


def test_file_that_goes_missing_later(make_folder):
    folder = make_folder({"a": 5, "b": 5})
    split = load_data(folder, memory_limit=1).splits["train"]
    os.unlink(split.paths[2])
    with pytest.raises(DataError, match=f"{split.paths[2]}, which could be read .*no such file"):
        split.load([2])


def test_huge_and_heic(make_folder, monkeypatch):
    folder = make_folder({"a": 5, "b": 5})
    (folder / "a" / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    monkeypatch.setattr(checks, "HUGE_PIXELS", 143)
    report = check_data(folder)
    assert len(find(report, "huge").paths) == 10
    assert "phone.HEIC (Pillow cannot read HEIC: convert it" in find(report, "corrupt").message


def test_home_folder(make_folder, monkeypatch):
    folder = make_folder({"a": 5, "b": 5})
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_data("~/photos").counts == load_data(folder).counts


def test_looking_at_a_folder_loads_no_tensorflow(make_folder):
    program = (
        "import sys; from recipes.data import check_data, load_data; "
        "source = sys.argv[1]; load_data(source).statistics(); "
        "assert check_data(source).ok and 'tensorflow' not in sys.modules"
    )
    folder = make_folder({"a": 5, "b": 5})
    subprocess.run([sys.executable, "-c", program, folder], check=True)


def test_progress(make_folder):
    calls = []
    folder = make_folder({"a": 40, "b": 30})
    load_data(folder, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (70, 70)
    assert calls == sorted(calls)


def test_report_lines(make_folder):
    lines = check_data(make_folder({"ant": 12, "b": 3})).to_lines()
    assert lines[0].endswith("photos: 15 images, 2 classes, used as 12x12x3")
    assert lines[1:5] == ["class  train", "ant       12", "b          3", "all       15"]
    assert lines[-1] == "no problems"
