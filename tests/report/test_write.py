import json
import os
from pathlib import Path

import pytest

from kgraft.errors import KgraftError
from kgraft.report import write_report


def test_both_files(report, tmp_path):
    json_path, markdown_path = write_report(report, tmp_path)
    assert json.loads(json_path.read_text(encoding="utf-8"))["seeds"] == {"run": 0}
    assert markdown_path.read_text(encoding="utf-8").startswith("# kgraft report\n")
    assert sorted(os.listdir(tmp_path)) == ["report.json", "report.md"]


def test_a_full_disk_leaves_the_old_report(report, tmp_path, monkeypatch):
    old = [path.read_bytes() for path in write_report(report, tmp_path)]
    write = Path.write_text

    def full(self, text, **options):
        if self.suffix == ".md":
            raise OSError("no space left on device")
        return write(self, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(KgraftError, match=r"cannot write the report to .*no space left"):
        write_report(report, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["report.json", "report.md"]
    assert [(tmp_path / name).read_bytes() for name in ("report.json", "report.md")] == old


def test_a_folder_that_is_not_there(report, tmp_path):
    with pytest.raises(KgraftError, match="cannot write the report"):
        write_report(report, tmp_path / "no")
