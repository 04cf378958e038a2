"""Labelled images, checked before anything expensive starts: COCO, YOLO txt folders, Pascal VOC.

    train, val = read_pair(Path("DIR"), "train.json", "val.json", ignore=("DontCare",))

`python -m offline.data check DIR` explains everything that is wrong with a data set. Classes named in `ignore` mark
regions to leave alone ("DontCare"): no loss there, no false positive there, and never a class to predict. So do
COCO's iscrowd and VOC's difficult.
"""

from .class_map import map_classes, parse_map
from .colors import check_colors, color_lines, detect_color
from .images import pixel_statistics, read_image
from .near_duplicates import leak_warnings, unseen
from .options import add_data_options, check_alone, class_list, label_rules
from .read import FORMATS, Rules, read_coco, read_dataset, read_pair
from .sample import TINY_PX, Dataset, Sample, model_sizes
from .sets import read_measured, read_sets, repeats
from .sets_file import is_sets_file

__all__ = [
    "FORMATS",
    "TINY_PX",
    "Dataset",
    "Rules",
    "Sample",
    "add_data_options",
    "check_alone",
    "check_colors",
    "class_list",
    "color_lines",
    "detect_color",
    "is_sets_file",
    "label_rules",
    "leak_warnings",
    "map_classes",
    "model_sizes",
    "parse_map",
    "pixel_statistics",
    "read_coco",
    "read_dataset",
    "read_image",
    "read_measured",
    "read_pair",
    "read_sets",
    "repeats",
    "unseen",
]
