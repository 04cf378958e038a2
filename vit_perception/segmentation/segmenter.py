"""A bundle's dense head on one engine: the class map of an image."""

import numpy as np

from ..errors import BundleError, EngineError
from ..images.look import Look
from ..letterbox import Letterbox
from ..stats import Stopwatch
from .class_map import class_map

OUTPUT = "classes"  # of the model: float32 (1, C, H / stride, W / stride)


class Segmenter:
    """The dense head of a bundle's model.

    Args:
        bundle: a `vit_perception.bundles.bundle.Bundle` that segments.
        engine: what `open_engine` returned for it.
        letterbox: the `Letterbox` of the detector that runs the engine; None: nobody else runs it.

    Attributes:
        labels (list of str), colors (list of [red, green, blue]): of each class of a map.
        look (Look or None): compares the images with those that the model was trained on, as the detector's does.
        stage_ms (dict): milliseconds of letterbox and infer in the last `look_at`.

    Raises:
        BundleError: the bundle does not segment. EngineError: bundle and engine do not fit together.
    """

    def __init__(self, bundle, engine, letterbox=None):
        if bundle.segmentation is None:
            raise BundleError("bundle {} does not segment; give one that does".format(bundle.path))
        self.labels, self.colors = bundle.segmentation["labels"], bundle.segmentation["colors"]
        self.letterbox, self._engine, self.stage_ms = letterbox or Letterbox(bundle.input), engine, {}
        self.look = Look(bundle.input) if letterbox is None and "look" in bundle.input else None
        stride, size = bundle.segmentation["stride"], self.letterbox.batch.shape
        self._shape = (1, len(self.labels), size[2] // stride, size[3] // stride)
        if tuple(engine.input_shape) != size:
            text = "the engine takes {} but bundle.json says {}; write the bundle again"
            raise EngineError(text.format(tuple(engine.input_shape), size))

    def look_at(self, image, order):
        """Run the engine on one image, uint8 (H, W) if order is 'mono', (H, W, 3) if it is 'rgb' or 'bgr'.

        Raises:
            ImageError: image and order do not fit together. EngineError: the engine failed.
        """
        watch = Stopwatch()
        batch, _ = self.letterbox(image, order)
        if self.look is not None:
            self.look.add(batch[0], *self.letterbox.filled)
        watch.stop("letterbox")
        self._engine.infer(batch, (OUTPUT,))
        watch.stop("infer")
        self.stage_ms = watch.stage_ms

    def newest(self, width, height):
        """The class map of the newest image that the engine saw as a whole, of `width` x `height` pixels.

        Returns:
            uint8 (h', w'), as `class_map` tells.

        Raises:
            EngineError: the output has another shape than bundle.json says, or is not finite.
        """
        logits = np.asarray(self._engine.read(OUTPUT))
        if logits.shape != self._shape:
            text = "the model gives classes {} but bundle.json says {}; write the bundle again"
            raise EngineError(text.format(logits.shape, self._shape))
        return class_map(logits[0], self.letterbox, width, height)

    def segment(self, image, order):
        """`look_at`, then `newest`: the class map of one image, uint8 (h', w')."""
        self.look_at(image, order)
        return self.newest(image.shape[1], image.shape[0])
