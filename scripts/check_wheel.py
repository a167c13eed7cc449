"""Check what a built wheel holds: the four packages, the bundled data, the licence, no tests.

python scripts/check_wheel.py dist/keras_recipes-*.whl
"""

import sys
import zipfile

PACKAGES = {"recipes", "augment", "callbacks", "tuning"}
NEEDED = {"recipes/cli.py", "recipes/data/fashion_mini/LICENSE"}
MOST_BYTES = 4_000_000


def main(path: str) -> None:
    """Exit with a message that says what is wrong, if anything."""
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        size = sum(entry.compress_size for entry in wheel.infolist())
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    if tops != PACKAGES:
        sys.exit(f"{path}: expected the packages {sorted(PACKAGES)}, found {sorted(tops)}")
    if missing := NEEDED - names:
        sys.exit(f"{path}: missing {sorted(missing)}")
    if not any(name.endswith("licenses/LICENSE") for name in names):
        sys.exit(f"{path}: the licence is missing")
    if size > MOST_BYTES:
        sys.exit(f"{path}: {size:,} bytes, expected at most {MOST_BYTES:,}")
    print(f"{path}: {len(names)} files, {size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
