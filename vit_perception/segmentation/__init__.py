"""What lies where, pixel by pixel: from a model's dense output to a class map, its colours, and a place to land.

class_map.py    logits of each pixel -> the class of each pixel
segmenter.py    a bundle's model on an engine -> the class map of an image
alone.py        the node's part that only segments, in the place of `Pipeline`
overlay.py      a class map drawn into a picture
landing.py      the largest circle of flat classes on the ground
"""
