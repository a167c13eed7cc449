"""`recipes show-augment`: the sheet that is drawn, and one line for each mistake."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import augment
from recipes import load_data
from recipes.augmentation import recipe_transform
from recipes.cli import main


@pytest.fixture
def run_cli(capsys):
    """Return a function from arguments to exit code, standard output and standard error."""

    def call(*arguments):
        code = main(["show-augment", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def photos(tmp_path):
    """Write two colour images, 40 x 30, and return their paths."""
    generator = np.random.default_rng(0)
    paths = [tmp_path / "cat.png", tmp_path / "dog.png"]
    for path in paths:
        pixels = generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def same(path, expected):
    with Image.open(path) as sheet:
        return np.array_equal(np.asarray(sheet), np.asarray(expected))


@pytest.mark.parametrize("name", ["random_flip", "flip", "RandomFlip"])
def test_operation_on_image_files(run_cli, photos, tmp_path, name):
    out = tmp_path / "sheet.png"
    code, printed, _ = run_cli(
        *("--operation", name, "--set", "vertical=true", "--set", "probability=0.9"),
        *(*photos, "--out", out, "--size", 20, "--columns", 2, "--seed", 5),
    )
    assert (code, printed) == (0, f"{out}\n")
    # The middle of the image, reduced to 20 pixels, as a recipe would read it.
    images = [
        Image.open(path).resize((20, 20), Image.Resampling.BILINEAR, box=(5, 0, 35, 30))
        for path in photos
    ]
    expected = augment.show(
        lambda x, seed: augment.random_flip(x, seed, vertical=True, probability=0.9),
        images,
        [0, 1],
        class_names=["cat", "dog"],
        columns=2,
        seed=5,
        title="random_flip(vertical=True, probability=0.9)",
    )
    assert same(out, expected)


def test_mix_of_labelled_images(run_cli, tmp_path):
    out = tmp_path / "sheet.png"
    code, printed, _ = run_cli(
        *("--operation", "mixup", "--set", "alpha=1", "fashion-mini"),
        *("--count", 3, "--out", out, "--json"),
    )
    assert code == 0
    facts = json.loads(printed)
    assert facts == {
        "file": str(out),
        "augmentation": "mixup(alpha=1)",
        "images": 3,
        "columns": 4,
        "seed": 0,
    }
    data = load_data("fashion-mini")
    train = data.splits["train"]
    chosen = [int(np.flatnonzero(train.labels == label)[0]) for label in (0, 1, 2)]
    expected = augment.show(
        lambda images, labels, seed: augment.mixup(images, labels, seed, alpha=1, classes=10),
        train.load(chosen),
        [0, 1, 2],
        class_names=data.class_names,
        title="mixup(alpha=1)",
    )
    assert same(out, expected)


@pytest.mark.slow
def test_recipe(run_cli, tmp_path):
    out = tmp_path / "sheet.png"
    code, _, _ = run_cli(
        *("--recipe", "fashion-fast", "--set", "augmentation.mixup_alpha=1.0"),
        *("fashion-mini", "--count", 2, "--columns", 1, "--out", out),
    )
    assert code == 0
    from recipes.catalog import get_recipe

    recipe = get_recipe("fashion-fast").override({"augmentation.mixup_alpha": 1.0})
    data = load_data("fashion-mini")
    train = data.splits["train"]
    chosen = [int(np.flatnonzero(train.labels == label)[0]) for label in (0, 1)]
    expected = augment.show(
        recipe_transform(recipe, 10),
        train.load(chosen),
        [0, 1],
        class_names=data.class_names,
        columns=1,
        title="recipe fashion-fast",
    )
    assert same(out, expected)


def test_recipe_on_one_image_file(run_cli, photos, tmp_path):
    out = tmp_path / "sheet.png"
    settings = ("flip=none", "crop_padding=0", "cutout=0", "mixup_alpha=1")
    settings = [part for text in settings for part in ("--set", f"augmentation.{text}")]
    code, printed, err = run_cli("--recipe", "fashion-mini", *settings, photos[0], "--out", out)
    assert (code, printed, err) == (0, f"{out}\n", "")
    assert out.exists()


def test_policy(run_cli, photos, tmp_path):
    out = tmp_path / "sheet.png"
    code, printed, _ = run_cli(
        *("--policy", "randaugment", "--set", "n=1", "--set", "m=20"),
        *(*photos, "--out", out, "--size", 20, "--columns", 1, "--json"),
    )
    assert code == 0
    assert "m=20" in json.loads(printed)["augmentation"]
    with Image.open(out) as sheet:
        assert sheet.width > 2 * 120


MISTAKES = [
    (
        ("--operation", "random_flop"),
        "unknown operation 'random_flop'; did you mean 'random_flip'?",
    ),
    (("--operation", "random_flip", "--set", "verticle=1"), "did you mean 'vertical'?"),
    (("--operation", "random_flip", "--set", "probability=2"), "probability must be a number in"),
    (("--operation", "random_flip", "--set", "vertical"), "vertical"),
    (("--operation", "flip", "--set", "probability={[]:1}"), "probability must be a number in"),
    # Of four images, each a class of its own.
    (("--operation", "mixup", "--set", "classes=2"), "labels must be below classes, which is 2"),
    (("--operation", "flip", "--size", "0"), "--size must be at least 1, received: 0"),
    (("--operation", "flip", "--count", "0"), "--count and --columns must be at least 1"),
    (("--operation", "flip", "--seed", "-1"), "--seed must be at least 0, received: -1"),
    (("--policy", "randaugmen"), "did you mean 'randaugment'?"),
    (("--policy", "randaugment", "--set", "m=99"), "m must be a number"),
    (("--recipe", "fashion-min"), "did you mean 'fashion-mini'?"),
    (("--recipe", "fashion-mini", "--set", "a=1"), "unknown field 'a'"),
    (
        ("--recipe", "fashion-mini", "--set", "augmentation.policy=randaugmen"),
        "did you mean 'randaugment'?",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(run_cli, photos, tmp_path, arguments, message):
    code, out, err = run_cli(*arguments, *photos, *photos, "--out", tmp_path / "sheet.png")
    assert (code, out) == (2, "")
    assert err.startswith("recipes: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat.png", "dog.png"]


@pytest.mark.parametrize(
    ("sources", "out", "message"),
    [
        (["PHOTO", "/none.png"], "sheet.png", "there is no image file /none.png"),
        (["/none"], "sheet.png", "there is no folder /none"),
        (["TEXT"], "sheet.png", "text.txt"),
        (["PHOTO"], "sheet.doc", "path must end in .png, .jpg or .webp"),
        (["PHOTO"], "none/sheet.png", "there is no folder"),
    ],
)
def test_wrong_images_and_files(run_cli, photos, tmp_path, sources, out, message):
    (tmp_path / "text.txt").write_text("no image")
    places = {"PHOTO": photos[0], "TEXT": tmp_path / "text.txt"}
    sources = [places.get(source, source) for source in sources]
    code, _, err = run_cli("--operation", "flip", *sources, "--out", tmp_path / out)
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


def test_one_of_the_three_is_needed(photos, capsys):
    for arguments in ([], ["--operation", "flip", "--policy", "randaugment"]):
        with pytest.raises(SystemExit) as stop:
            main(["show-augment", *arguments, str(photos[0]), "--out", "x.png"])
        assert stop.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_help_loads_no_tensorflow():
    program = (
        "import sys\nfrom recipes.cli import main\n"
        "try: main(['show-augment', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'tensorflow', 'keras', 'PIL'} & set(sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
