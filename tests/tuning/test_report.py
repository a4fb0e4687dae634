from tuning_cases import record, settings

from kgraft.tuning import report
from kgraft.tuning.report import write_search


def test_flagfiles_follow_the_settings_of_now_and_the_ranking(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_search", lambda *_: None)
    old = record("1", 0.9, 0.5, values={"batch": 8}, flags=("--formats=int8", "--batch=8"))
    other = record("2", 0.8, 0.5, values={"batch": 16})
    (tmp_path / "top_secret.flags").touch()
    write_search(tmp_path, [old, other], {}, settings("batch=8|16", top=2))
    assert (tmp_path / "top2.flags").exists()
    config = settings("batch=8|16", formats=("float32",), eval_dataset="npz:test.npz")
    write_search(tmp_path, [old, other], {}, config)
    names = sorted(path.name for path in tmp_path.glob("*.flags"))
    assert names == ["best.flags", "top1.flags", "top_secret.flags"]
    lines = (tmp_path / "best.flags").read_text().splitlines()
    assert {"--formats=float32", "--eval_dataset=npz:test.npz", "--batch=8"} <= set(lines)
    assert f"--workdir={tmp_path / 'best'}" in lines
    lines = (tmp_path / "top1.flags").read_text().splitlines()
    assert f"--workdir={tmp_path / 'student_1'}" in lines
