"""Make the picture of the README: the top of a run's report, as a browser shows it.

    python scripts/make_report_picture.py runs/demo docs/report.png

Needs Chromium (the Debian package `chromium`).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

_WIDTH, _HEIGHT = 1100, 1420
_COLORS = 128


def main(run: str, picture: str) -> None:
    """Take the screenshot, then shrink it to a palette."""
    report = Path(run, "report.html").resolve()
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, "shot.png")
        subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                f"--user-data-dir={folder}/profile",
                "--disable-background-networking",
                f"--window-size={_WIDTH},{_HEIGHT}",
                f"--screenshot={shot}",
                report.as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        image = Image.open(shot).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    image.save(picture, optimize=True)
    print(f"{picture}: {Path(picture).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
