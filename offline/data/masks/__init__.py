"""Masks: images in which every pixel has a class. `read.py` (enter here) attaches them to a data set; `table.py` reads
class tables, `layout.py` finds which mask belongs to which image, `source.py` reads pixels, `polygons.py` COCO's
polygons and run lengths, `check.py` tells what is wrong with them."""

from .read import attach_masks, pixel_counts, read_mask, read_masked

__all__ = ["attach_masks", "pixel_counts", "read_mask", "read_masked"]
