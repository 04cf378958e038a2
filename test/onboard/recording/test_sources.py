"""Folders of images and calibration files as people have them, without ROS."""

import cv2
import numpy as np
import PIL.Image
import pytest

from vit_perception.errors import ImageError, PerceptionError
from vit_perception.recording.calibration_file import camera_of, read_calibration
from vit_perception.recording.sources import Images, Video

GRAY = np.arange(24, dtype=np.uint8).reshape(4, 6)


def fill(folder, *names):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), GRAY + i)
    return folder


def names(images):
    return [path.rpartition("/")[2] for path in images.files]


def test_numbers_in_names_are_numbers_and_that_is_told(tmp_path):
    images = Images(str(fill(tmp_path / "f", *[f"frame_{i}.png" for i in range(1, 13)])))
    assert names(images) == [f"frame_{i}.png" for i in range(1, 13)]
    assert "frame_1.png ... frame_12.png" in images.notes[0]
    assert Images(str(fill(tmp_path / "g", "a01.png", "a02.png", "a10.png"))).notes == [], "nothing was guessed"


def test_times_as_names_are_decimals(tmp_path):
    played = ["12.05.png", "12.25.png", "12.5.png", "100.125.png"]
    assert names(Images(str(fill(tmp_path / "f", *reversed(played))))) == played


def test_what_is_left_out_is_told(tmp_path):
    folder = fill(tmp_path / "f", "1.PNG", "2.jpg", "3.webp")
    (folder / "._1.png").write_bytes(b"of macOS")
    (folder / "4.heic").touch()
    (folder / "labels.txt").touch()
    (folder / "5.png").mkdir()
    images = Images(str(folder))
    assert names(images) == ["1.PNG", "2.jpg", "3.webp"]
    assert [note for note in images.notes if "4.heic" in note] and "1 files" in images.notes[-1]


def test_that_of_several_pictures_in_a_file_the_first_is_played_is_told_once(tmp_path):
    folder = fill(tmp_path / "f", "a.png", "b.png", "c.png")
    pages = [PIL.Image.fromarray(GRAY + i) for i in range(5)]
    for name in ("b.tif", "c.tiff"):
        pages[0].save(folder / name, save_all=True, append_images=pages[1:])
    images = Images(str(folder))
    assert images.notes == []
    for _ in range(2):  # as the player does with loop
        assert [(image == GRAY).all() for name, image, _ in images.named() if name.startswith(("b.t", "c.t"))] == [1, 1]
    assert (
        len(images.notes) == 1 and "b.tif holds 5 pictures: of such files the first alone is played" in images.notes[0]
    )


def test_images_in_a_sub_folder_are_hinted_at(tmp_path):
    fill(tmp_path / "f", "1.png")
    with pytest.raises(PerceptionError, match="no images in .*; it has sub-folders, give one of them: f"):
        Images(str(tmp_path))


def test_files_that_cannot_be_read_are_named_one_by_one(tmp_path):
    folder = fill(tmp_path / "f", "1.png", "2.jpg", "3.png")
    (folder / "1.png").write_bytes(b"half an image")
    (folder / "2.jpg").write_bytes((folder / "2.jpg").read_bytes()[:-40])
    found = list(Images(str(folder)).named())
    assert [image is None for _, image, _ in found] == [True, True, False]
    assert "1.png: damaged" in found[0][2] and "2.jpg is cut off" in found[1][2] and found[2][2] == ""
    with pytest.raises(ImageError, match="1.png"):
        list(Images(str(folder)))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_list_may_be_written_by_windows(tmp_path, encoding):
    folder = fill(tmp_path / "f", "1.png", "2.png")
    (tmp_path / "list.txt").write_bytes("2.png\r\n1.png\r\n".encode(encoding))
    assert names(Images(str(folder), str(tmp_path / "list.txt"))) == ["2.png", "1.png"]


def test_a_video_that_ends_early_is_told(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (64, 48))
    for i in range(40):
        writer.write(np.full((48, 64, 3), 5 * i, np.uint8))
    writer.release()
    data = (tmp_path / "v.avi").read_bytes()
    (tmp_path / "v.avi").write_bytes(data[: len(data) // 2])
    video = Video(str(tmp_path / "v.avi"))
    read = len(list(video))
    assert 0 < read < 40 and (len(video) == read or f"ends after {read} of the" in video.notes[0])


ROS = """image_width: 6
image_height: 4
camera_name: nose
camera_matrix: {rows: 3, cols: 3, data: [100., 0., 3., 0., 100., 2., 0., 0., 1.]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.1, 0.01, 0., 0., 0.]}
projection_matrix: {rows: 3, cols: 4, data: [1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0.]}
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_calibration_of_camera_calibration_is_taken_with_its_lens(tmp_path, encoding):
    (tmp_path / "camera.yaml").write_bytes(ROS.encode(encoding))
    camera, problem = camera_of(read_calibration(str(tmp_path)))
    assert problem == "" and (camera.fx, camera.width, camera.height) == (100.0, 6, 4)
    assert camera.distortion.tolist() == [-0.1, 0.01, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no camera.yaml beside the images"),
        ("fps: 5\n", "camera.yaml has neither K nor camera_matrix"),
        ("width: 6\nheight: 4\nK: [0, 0, 0, 0, 0, 0, 0, 0, 0]\n", "camera.yaml is no calibration"),
        (ROS.replace("plumb_bob", "odd"), "distortion model 'odd' is not known; the lens counts as ideal"),
    ],
)
def test_what_is_missing_in_a_calibration_is_one_sentence(tmp_path, text, words):
    if text is not None:
        (tmp_path / "camera.yaml").write_text(text)
    _, problem = camera_of(read_calibration(str(tmp_path)))
    assert words in problem and "\n" not in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("K: []\nwidth: 6\nheight: 4\n", "K has 0 numbers, not 9"),
        ("K: [1, 2]\nwidth: 6\nheight: 4\n", "K has 2 numbers, not 9"),
        ("K: [[100, 0, 3], [0, 100, 2], [0, 0, 1]]\n", "width and height of the calibrated images are missing"),
        ("K: [.nan, 0, 3, 0, 100, 2, 0, 0, 1]\nwidth: 6\nheight: 4\n", "not all numbers are finite"),
        ("- 1\n", "no names and values"),
        ("fps: 0\n", "fps must be positive"),
    ],
)
def test_a_calibration_that_contradicts_itself_is_refused(tmp_path, text, words):
    (tmp_path / "camera.yaml").write_text(text)
    with pytest.raises(PerceptionError, match="camera.yaml is malformed") as error:
        read_calibration(str(tmp_path))
    assert words in str(error.value) and "\n" not in str(error.value)
