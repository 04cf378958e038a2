"""Files that are whole or not there."""

import pytest
import torch

from offline.errors import RecipeError
from offline.files import (
    check_replaceable,
    load_torch,
    replace_folder,
    save_torch,
    write_atomically,
    write_json,
    write_text,
)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_failed_write_keeps_the_old_file_and_leaves_no_litter(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def fail(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a.txt", fail)
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_bundle_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "models" / "x"
    with replace_folder(target) as folder:
        (folder / "bundle.json").write_text("1")
    with pytest.raises(KeyboardInterrupt), replace_folder(target) as folder:
        (folder / "two").write_text("2")
        raise KeyboardInterrupt
    assert names(target) == ["bundle.json"]
    with replace_folder(target) as folder:
        (folder / "three").write_text("3")
    assert names(target) == ["three"] and names(target.parent) == ["x"]


def test_what_is_no_bundle_is_never_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    with replace_folder(tmp_path / "empty") as folder:
        (folder / "photo.jpg").write_text("precious")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "broken").symlink_to("nowhere")
    before = names(tmp_path)
    for name in before:
        with pytest.raises(RecipeError, match=f"{name} exists and is no model bundle"), replace_folder(tmp_path / name):
            pass
    assert names(tmp_path) == before and names(tmp_path / "empty") == ["photo.jpg"]


def test_a_link_to_a_bundle_goes_on_being_one(tmp_path):
    (tmp_path / "of" / "bundle").mkdir(parents=True)
    (tmp_path / "of" / "bundle" / "bundle.json").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "of" / "bundle")
    with replace_folder(tmp_path / "link") as folder:
        (folder / "bundle.json").write_text("new")
    assert (tmp_path / "of" / "bundle" / "bundle.json").read_text() == "new" and (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["bundle", "bundle.json", "link", "of"]


def test_where_no_bundle_can_be_written_is_known_before(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="cannot be written"):
        check_replaceable(tmp_path / "file" / "bundle")


def test_checkpoints_are_data_and_never_code(tmp_path):
    save_torch(tmp_path / "ok.pt", {"step": 3, "weights": torch.ones(2)})
    assert load_torch(tmp_path / "ok.pt")["step"] == 3

    class Evil:
        def __reduce__(self):
            return (write_json, (tmp_path / "hacked.json", {}))

    torch.save(Evil(), tmp_path / "evil.pt")
    with pytest.raises(Exception, match="weights_only|Unsupported"):
        load_torch(tmp_path / "evil.pt")
    assert not (tmp_path / "hacked.json").exists()
