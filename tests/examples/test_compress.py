"""The example of compressing trains, compresses, and makes the chosen file again."""

import pytest

from tuning.compression_report import CompressionReport

pytest.importorskip("litert_quantizer")


@pytest.mark.slow
def test_it_trains_compresses_and_replays(program, tmp_path, capsys):
    assert program.main(["--epochs", "2", "--max-drop", "0.02", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    report = CompressionReport.load(tmp_path / "compressed")
    # Which of the files within the drop is chosen is up to their times.
    chosen, reference = report.row(report.chosen), report.row("float32")
    assert chosen["bytes"] < reference["bytes"]
    assert chosen["validation"]["difference"] >= -0.02
    assert reference["test"]["accuracy"] > 0.75
    assert "within 2 points" in printed
    assert (tmp_path / "again.tflite").read_bytes() == report.path.read_bytes()


def test_mistakes_are_one_line(program, tmp_path, capsys):
    nowhere = str(tmp_path / "nowhere")
    assert program.main([nowhere, "--out", str(tmp_path / "out")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("compress:")]
    assert len(lines) == 1
    assert "nowhere" in lines[0]
    assert not (tmp_path / "out").exists()
