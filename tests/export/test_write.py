"""Folders that are whole or not there, whatever happens between two renames."""

import multiprocessing
import os
import shutil
from pathlib import Path

import pytest

from kgraft.errors import KgraftError
from kgraft.export import write
from kgraft.export.write import made_aside


def write_text(folder, text):
    with made_aside(folder) as aside:
        (aside / "file").write_text(text)


@pytest.fixture
def folder(tmp_path):
    write_text(tmp_path / "out", "first")
    return tmp_path / "out"


def test_a_folder_takes_the_place_of_an_older_one(folder):
    write_text(folder, "second")
    assert (folder / "file").read_text() == "second"
    assert os.listdir(folder.parent) == ["out"]


def test_a_link_keeps_its_place(folder):
    link = folder.with_name("link")
    link.symlink_to(folder)
    for text in ("second", "third"):
        write_text(link, text)
        assert (folder / "file").read_text() == text
    assert link.is_symlink() and sorted(os.listdir(folder.parent)) == ["link", "out"]


def test_others_can_read_it(folder):
    plain = folder.with_name("plain")
    plain.mkdir()
    assert folder.stat().st_mode == plain.stat().st_mode


def test_an_error_leaves_the_older_one(folder):
    with pytest.raises(ZeroDivisionError), made_aside(folder) as aside:
        (aside / "file").write_text("second")
        raise ZeroDivisionError
    assert (folder / "file").read_text() == "first"
    assert os.listdir(folder.parent) == ["out"]


def test_where_the_second_rename_fails_the_older_one_is_put_back(folder, monkeypatch):
    rename, calls = os.replace, []

    def second_fails(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(write.os, "replace", second_fails)
    with pytest.raises(KgraftError, match=r"cannot write exports to .*out: .*Input/output error"):
        write_text(folder, "second")
    assert len(calls) == 3
    assert (folder / "file").read_text() == "first"
    assert os.listdir(folder.parent) == ["out"]


def test_what_was_killed_between_two_renames_is_put_back(folder):
    folder.rename(folder.with_name(".out.old"))
    with pytest.raises(ZeroDivisionError), made_aside(folder) as aside:
        assert (folder / "file").read_text() == "first"
        assert list(aside.iterdir()) == []
        raise ZeroDivisionError
    assert (folder / "file").read_text() == "first"
    write_text(folder, "second")
    assert os.listdir(folder.parent) == ["out"]


def test_one_that_is_there_is_not_replaced_by_what_is_left(folder):
    shutil.copytree(folder, folder.with_name(".out.old"))
    write_text(folder, "second")
    assert (folder / "file").read_text() == "second"
    assert os.listdir(folder.parent) == ["out"]


def test_two_at_once_do_not_meet(folder):
    with made_aside(folder) as mine:
        (mine / "file").write_text("mine")
        write_text(folder, "theirs")
        assert (folder / "file").read_text() == "theirs"
        assert (mine / "file").read_text() == "mine"
    assert (folder / "file").read_text() == "mine"
    assert os.listdir(folder.parent) == ["out"]


def die_halfway(folder):
    with made_aside(folder) as aside:
        (aside / "file").write_text("half")
        os._exit(1)


def test_what_a_killed_process_left_is_cleared_away(folder):
    process = multiprocessing.get_context("spawn").Process(target=die_halfway, args=(folder,))
    process.start()
    process.join()
    assert len(list(Path(folder.parent).glob(".out.*.partial"))) == 1
    write_text(folder, "second")
    assert os.listdir(folder.parent) == ["out"]
