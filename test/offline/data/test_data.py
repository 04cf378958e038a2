"""offline.data: what a COCO file may get wrong, and what becomes of boxes and ignore regions."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from offline.data import Dataset, Sample, detect_color, pixel_statistics, read_coco, read_image
from offline.errors import DataError
from offline.training.augment import Loader, clip_boxes
from offline.training.copy_paste import Objects, cut, paste

CATEGORIES = [{"id": 0, "name": "Person"}, {"id": 7, "name": "Car"}, {"id": 9, "name": "DontCare"}]


def write_set(root, annotations, images=(("a.png", 64, 48),), categories=CATEGORIES):
    (root / "images").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    entries = []
    for i, (name, width, height) in enumerate(images):
        cv2.imwrite(str(root / "images" / name), rng.integers(0, 255, (height, width), np.uint8))
        entries.append({"id": i, "file_name": name, "width": width, "height": height})
    coco = {"images": entries, "annotations": annotations, "categories": categories}
    (root / "f.json").write_text(json.dumps(coco))
    return root


def box(x, y, w, h, category=0, **more):
    return {"id": 1, "image_id": 0, "category_id": category, "bbox": [x, y, w, h]} | more


def test_classes_are_in_id_order_without_the_ignored(tmp_path):
    data = read_coco(write_set(tmp_path, [box(1, 2, 3, 4), box(5, 5, 9, 9, 7)]), "f.json", ignore=("DontCare",))
    assert data.labels == ["Person", "Car"]
    assert data.samples[0].boxes.tolist() == [[1, 2, 4, 6], [5, 5, 14, 14]]
    assert data.samples[0].classes.tolist() == [0, 1]


def test_ignored_category_and_crowd_become_regions(tmp_path):
    annotations = [box(0, 0, 9, 9), box(10, 10, 5, 5, 9), box(20, 20, 8, 8, iscrowd=1)]
    sample = read_coco(write_set(tmp_path, annotations), "f.json", ignore=("DontCare",)).samples[0]
    assert sample.ignore.tolist() == [[10, 10, 15, 15], [20, 20, 28, 28]]
    assert len(sample.boxes) == 1


def test_boxes_outside_are_clipped_and_empty_ones_dropped_and_counted(tmp_path):
    annotations = [box(60, 40, 20, 20), box(100, 100, 5, 5), box(3, 3, 0, 9), box(3, 3, float("nan"), 9)]
    data = read_coco(write_set(tmp_path, annotations), "f.json")
    assert data.samples[0].boxes.tolist() == [[60, 40, 64, 48]]
    assert data.dropped == {"no area inside their image": 3}
    assert "dropped 3 boxes" in data.summary()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: (r / "f.json").unlink(), "no annotation file"),
        (lambda r: (r / "f.json").write_text("{"), "not a COCO detection file"),
        (lambda r: (r / "f.json").write_text("[]"), "not a COCO detection file"),
        (lambda r: (r / "f.json").write_text('{"images": []}'), "not a COCO detection file"),
        (lambda r: (r / "images/a.png").unlink(), "a.png: an image that f.json names is neither in"),
        (lambda r: write_set(r, []), "no box of"),
        (lambda r: write_set(r, [], images=()), "lists no images"),
        (lambda r: write_set(r, [box(1, 1, 5, 5, image_id=5)]), "not listed"),
        (lambda r: write_set(r, [box(1, 1, 5, 5, bbox=[1, 2])]), "4 numbers in bbox"),
        (lambda r: write_set(r, [box(1, 1, 5, 5)], categories=[{"id": 1}]), "category lacks id or name"),
    ],
)
def test_bad_input_is_one_clear_sentence(tmp_path, change, says):
    write_set(tmp_path, [box(1, 1, 5, 5)])
    change(tmp_path)
    with pytest.raises(DataError, match=says) as e:
        read_coco(tmp_path, "f.json")
    assert "\n" not in str(e.value)


def test_unknown_classes_are_named(tmp_path):
    write_set(tmp_path, [box(1, 1, 5, 5)])
    with pytest.raises(DataError, match="no category 'Dog' to ignore; it has: Person, Car, DontCare"):
        read_coco(tmp_path, "f.json", ignore=("Dog",))
    with pytest.raises(DataError, match="no category 'Dog'"):
        read_coco(tmp_path, "f.json", labels=["Dog"])


def test_unreadable_and_wrongly_sized_images_are_refused(tmp_path):
    sample = read_coco(write_set(tmp_path, [box(1, 1, 5, 5)]), "f.json").samples[0]
    cv2.imwrite(str(sample.path), np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match="20x20 but its annotation says 64x48"):
        read_image(sample, "gray")
    sample.path.write_bytes(b"not an image")
    with pytest.raises(DataError, match="cannot read image"):
        read_image(sample, "gray")


def test_some_images_of_a_set_are_evenly_spread_over_it(tmp_path):
    names = [(f"{i}.png", 16, 16) for i in range(7)]
    data = read_coco(write_set(tmp_path, [box(1, 2, 3, 4)], names), "f.json")
    assert [s.path.name for s in data.spread(3).samples] == ["0.png", "3.png", "6.png"]
    assert data.spread(3).sha256 == data.sha256 and len(data) == 7
    assert data.spread(0) is data.spread(7) is data.spread(8) is data


def test_color_is_detected(tmp_path):
    data = read_coco(write_set(tmp_path, [box(1, 1, 5, 5)]), "f.json")
    assert detect_color(data) == "gray"
    cv2.imwrite(str(data.samples[0].path), np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8))
    assert detect_color(data) == "rgb"


def loader(root, **options):
    data = read_coco(write_set(root, [box(10, 10, 20, 20), box(30, 30, 10, 10, 9)]), "f.json", ignore=("DontCare",))
    spec = {"color": "gray", "mean": [0.5], "std": [0.2]}
    settings = {"crop": (64, 64), "batch": 4, "scale": (0.7, 1.5), "mosaic": 0.5, "photometric": 1.0, "seed": 3}
    return Loader(data, spec, **(settings | options))


def test_batches_follow_from_seed_and_step(tmp_path):
    a, b = loader(tmp_path), loader(tmp_path)
    first = list(a.batches(0, 4, mosaic_until=3))
    resumed = list(b.batches(2, 4, mosaic_until=3))  # as after a kill at step 2
    for x, y in zip(first[2:], resumed, strict=True):
        assert all((x[k] == y[k]).all() for k in x)
    assert (first[0]["images"] != first[1]["images"]).any()


def test_the_box_stays_on_its_object_through_every_augmentation(tmp_path):
    """A bright square on black: the centre of every box that stays whole must be bright."""
    source = loader(tmp_path, photometric=0.0, batch=64)
    image = np.zeros((48, 64), np.uint8)
    image[10:30, 10:30] = 255
    cv2.imwrite(str(source.data.samples[0].path), image)
    batch = source.make(0, mosaic=0.5)
    checked = 0
    for x, boxes, labels in zip(batch["images"], batch["boxes"], batch["labels"], strict=True):
        for x1, y1, x2, y2 in boxes[labels >= 0].tolist():
            patch = x[0, int(y1) + 2 : int(y2) - 1, int(x1) + 2 : int(x2) - 1]
            if patch.numel() > 20:
                assert (patch > 1.0).float().mean() > 0.9
                checked += 1
    assert checked > 30


def test_rare_classes_are_drawn_as_often_as_the_root_of_their_number(tmp_path):
    boxes = [box(1 + i, 1, 5, 5, 0) for i in range(16)] + [box(30, 30, 5, 5, 7)]
    data = read_coco(write_set(tmp_path, boxes), "f.json")
    objects, rng = Objects(data), np.random.default_rng(0)
    drawn = [objects.draw(rng) for _ in range(2000)]
    rare = np.mean([data.samples[i].classes[k] == 1 for i, k in drawn])
    assert rare == pytest.approx(1 / 5, abs=0.03)  # roots 4 and 1


def test_crops_on_objects_hold_them(tmp_path):
    source = loader(tmp_path, crop=(32, 32), scale=(1.0, 1.0), mosaic=0.0, batch=64, objects=1.0)
    assert ((source.make(0, 0.0)["labels"] >= 0).any(1)).all()
    anywhere = loader(tmp_path, crop=(32, 32), scale=(1.0, 1.0), mosaic=0.0, batch=64).make(0, 0.0)["labels"]
    assert not ((anywhere >= 0).any(1)).all()


def test_close_crops_show_objects_as_large_as_an_approach_makes_them(tmp_path):
    def tallest(**options):
        batch = loader(tmp_path, scale=(1.0, 1.0), mosaic=0.0, batch=64, objects=1.0, **options).make(0, 0.0)
        boxes = batch["boxes"][batch["labels"] >= 0]
        return float((boxes[:, 3] - boxes[:, 1]).max())

    assert 2 * tallest() < tallest(close=1.0) <= 4 * tallest()


def test_pasted_objects_lie_in_their_boxes_and_cover_nothing():
    """A bright square on dark ground, into a gray image with one place taken."""
    source, rng = np.full((60, 80), 40, np.uint8), np.random.default_rng(1)
    source[20:40, 30:50] = 200
    patch, boxes, held = cut(source, np.array([[30, 20, 50, 40], [48, 20, 79, 40]], np.float32), 0)
    assert held.tolist() == [0] and patch.shape == (33, 33)  # of its neighbour it holds too little
    taken, placed = np.array([[0, 0, 60, 100]], np.float32), 0
    for _ in range(60):
        image = np.full((100, 120), 90, np.uint8)
        copies = paste(rng, image, taken, patch, boxes, 1.0)
        if copies is None:
            assert (image == 90).all()
            continue
        placed += 1
        (x1, y1, x2, y2) = np.round(copies[0]).astype(int)
        assert (image[:, :60] == 90).all() and x1 >= 60
        assert image[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].min() > 220  # 160 over its ground, as it was
        outside = image.astype(int)
        outside[y1 - 2 : y2 + 2, x1 - 2 : x2 + 2] = 90
        assert np.abs(outside - 90).max() <= 2  # its ground is as bright as the image's
    assert placed > 10


def test_batches_with_pasted_objects_follow_from_seed_and_step_and_leave_the_images_alone(tmp_path):
    a, b = (loader(tmp_path, objects=0.5, pasted=4) for _ in range(2))
    before = a.data.samples[0].boxes.copy()
    list(a.batches(0, 3, 3))
    x, y = a.make(3, 0.5), b.make(3, 0.5)
    assert all((x[k] == y[k]).all() for k in x) and (a.data.samples[0].boxes == before).all()
    plain = loader(tmp_path)
    assert sum((a.make(s, 0.5)["labels"] >= 0).sum() for s in range(20)) > sum(
        (plain.make(s, 0.5)["labels"] >= 0).sum() for s in range(20)
    )


def test_mostly_cut_boxes_become_ignore_regions():
    image = np.zeros((40, 40), np.uint8)
    boxes = np.array([[30, 0, 60, 20], [0, 0, 20, 20], [90, 90, 99, 99]], np.float32)
    _, kept, classes, ignore = clip_boxes(image, boxes, np.array([0, 1, 0]), np.zeros((0, 4), np.float32))
    assert kept.tolist() == [[0, 0, 20, 20]] and classes.tolist() == [1]
    assert ignore.tolist() == [[30, 0, 40, 20]]


def test_an_unreadable_image_stops_the_batches_with_its_name(tmp_path):
    source = loader(tmp_path)
    source.data.samples[0].path.write_bytes(b"")
    with pytest.raises(DataError, match="a.png"):
        list(source.batches(0, 3, mosaic_until=0))


def samples_of(count, width, height):
    none = np.zeros((0, 4), np.float32)
    samples = [Sample(Path(f"{i}.png"), i, width, height, none, np.zeros(0, int), none) for i in range(count)]
    return Dataset("x", ["a"], samples, "")


def test_pixel_statistics_of_many_colour_pixels_are_exact(monkeypatch):
    """64 images of 720p: more pixels than float32 can sum."""
    image = np.broadcast_to(np.uint8([[[100, 0, 51]], [[150, 0, 255]]]), (2, 720 * 640, 3))
    monkeypatch.setattr("offline.data.images.read_image", lambda sample, color, spec: image)
    mean, std = pixel_statistics(samples_of(64, 1280, 720), "rgb")
    assert mean == [round(125 / 255, 4), 0, 0.6] and std == [round(25 / 255, 4), 0.001, 0.4]


def test_pixel_statistics_of_gray_images(monkeypatch):
    images = np.random.default_rng(0).normal(90, 40, (5, 96, 128)).clip(0, 255).astype(np.uint8)
    monkeypatch.setattr("offline.data.images.read_image", lambda sample, color, spec: images[sample.id])
    pixels = images.astype(np.float64) / 255
    expected = [round(float(pixels.mean()), 4)], [round(float(pixels.std()), 4)]
    assert pixel_statistics(samples_of(5, 128, 96), "gray") == expected
