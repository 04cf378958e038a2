"""A node that only segments: stands where `vit_perception.pipeline.Pipeline` stands in one that detects."""

from ..images.saturation import ColourCheck
from .segmenter import Segmenter


class SegmentOnly:
    """Class maps of images, and nothing that needs a detection.

    Args:
        bundle, engine: as `open_bundle` and `open_engine` return them. values: the node's parameters by name.

    Attributes:
        segmenter (Segmenter). names (list): of detections, of which there are none. slices (str): a mask is of the
            image as a whole.

    Raises:
        PerceptionError: the bundle does not segment, or does not fit the engine.
    """

    slices = "1x1"

    def __init__(self, bundle, engine, values):
        self.names = []
        self.segmenter, self._colour = Segmenter(bundle, engine), ColourCheck(bundle)
        self.configure(values)

    def configure(self, values):
        """Set what `values` (parameter name -> value) names; names of others are left alone."""
        if "invert_image" in values:
            self.segmenter.letterbox.invert = values["invert_image"]

    def process(self, image, order):
        """Run the model on one image; returns {stage: milliseconds}. The class map: `segmenter.newest`."""
        self.segmenter.look_at(image, order)
        return self.segmenter.stage_ms

    def problems(self, image, order):
        """{kind: one sentence, or ''}, as of `Pipeline`."""
        look = self.segmenter.look
        return {"colour": self._colour.update(image, order), "look": look.problem if look else ""}
