import pytest

from augment.policy_spec import policy_operation


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("randaugment", "rand_augment", {"n": 2, "m": 9}),
        (" randaugment( n = 1 , m=5.5) ", "rand_augment", {"n": 1, "m": 5.5}),
        ("randaugment(operations=['posterize'])", "rand_augment", {"operations": ("posterize",)}),
        ("3-augment()", "three_augment", {}),
        ("trivialaugment", "trivial_augment_wide", {}),
        ("augmix(severity=2)", "aug_mix", {"severity": 2}),
    ],
)
def test_text_becomes_the_operation(text, name, arguments):
    operation = policy_operation(text)
    assert operation.name == name
    assert {key: operation.arguments[key] for key in arguments} == arguments


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("randagument", "unknown policy 'randagument': expected .*did you mean 'randaugment'"),
        ("deit", "unknown policy 'deit'"),
        ("randaugment(2)", "a name with keyword arguments"),
        ("randaugment(n=2", "a name with keyword arguments"),
        ("randaugment(n=2)(m=3)", "a name with keyword arguments"),
        ("", "a name with keyword arguments"),
        (7, "a name with keyword arguments"),
        ("randaugment(strength=2)", r"policy 'randaugment\(strength=2\)'.*strength"),
        ("randaugment(n=1, table=timm)", "table must be a plain value, text in quotes, .*: timm$"),
        ("randaugment(m=3+4)", r"m must be a plain value, text in quotes, received: 3 \+ 4$"),
        ("randaugment(n=1, n=2)", "n must be given once"),
        ("randaugment(**{'n': 1})", "a name with keyword arguments"),
        ("randaugment(n=0)", "n must be"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(ValueError, match=message):
        policy_operation(text)
