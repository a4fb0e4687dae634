import pytest

from kgraft.errors import KgraftError
from kgraft.pipeline.record_folder import RecordFolder, read_json

SETTINGS = {"data": {"seed": 0, "shape": (1, 2)}, "teacher_sha256": "x"}


@pytest.fixture
def folder(tmp_path):
    made = RecordFolder(tmp_path / "work", "parts", owner="a piece of work")
    made.check_settings(SETTINGS)
    assert not (tmp_path / "work").exists()
    made.start(SETTINGS)
    return made


def test_it_belongs_to_the_settings_it_was_started_with(folder):
    folder.check_settings(SETTINGS)
    message = r"belongs to a piece of work of other settings: data.seed was 0, now 1$"
    with pytest.raises(KgraftError, match=message):
        folder.check_settings({"data": {"seed": 1, "shape": [1, 2]}, "teacher_sha256": "x"})
    with pytest.raises(KgraftError, match="of other settings"):
        folder.start({"data": "something else"})
    folder.start(SETTINGS)


def test_settings_that_older_folders_lack_are_held_against_those_that_have_them(folder):
    def check(workdir, **more):
        made = RecordFolder(workdir, "parts", owner="a piece of work", since=("data_sha256",))
        made.check_settings(SETTINGS | more)
        made.start(SETTINGS | more)

    check(folder.workdir, data_sha256="y")
    check(folder.workdir / "newer", data_sha256="y")
    with pytest.raises(KgraftError, match=r"other settings: data_sha256 was 'y', now 'z'$"):
        check(folder.workdir / "newer", data_sha256="z")


def test_records_of_unknown_settings_are_refused(folder, tmp_path):
    (tmp_path / "work" / "settings.json").unlink()
    folder.check_settings(SETTINGS)
    (tmp_path / "work" / "parts" / "a.json").write_text("{}")
    message = r"parts has records of a piece of work, and .*settings.json, .*, is missing: put it"
    with pytest.raises(KgraftError, match=message):
        folder.check_settings(SETTINGS)


def test_its_records_are_the_files_in_its_folder(folder, tmp_path):
    assert list(folder.paths()) == []
    (tmp_path / "work" / "parts" / "a.json").write_text("{}")
    (tmp_path / "work" / "parts" / ".a.json.part").write_text("{")
    assert [path.name for path in folder.paths()] == ["a.json"]


def test_files_that_are_no_objects(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{")
    with pytest.raises(KgraftError, match=r"cannot read .*a\.json"):
        read_json(path)
    path.write_text("[]")
    with pytest.raises(KgraftError, match="expected a JSON object"):
        read_json(path)
