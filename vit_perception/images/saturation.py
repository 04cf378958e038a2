"""Are images in colour, as a model was trained, or gray? By their pixels: thermal cameras send rgb8 too."""

import numpy as np

# Mean over an image of a pixel's largest channel less its smallest. Of 1400 colour images of vehicles from the air and
# of rendered flights, the least colourful had 4.7; gray images sent as colour have 0, as JPEG too.
GRAY, COLOUR = 2.0, 4.0
IMAGES = 10  # that are looked at before anything is said: one may show a gray road, or be overexposed
_STEP = 16  # pixels between those that are looked at


class ColourCheck:
    """Judges the images of one camera for one model.

    Args:
        bundle: its name, and whether its input is 'gray' or in colour.
    """

    def __init__(self, bundle):
        self._name, self._gray = bundle.name, bundle.input["color"] == "gray"
        self._seen, self._mean = 0, 0.0

    def update(self, image, order):
        """Take one image, as `Pipeline.process` does. Returns one sentence if they do not fit the model, or ''."""
        value = 0.0
        if order != "mono":
            some = image[::_STEP, ::_STEP]
            value = float(np.mean(some.max(axis=2) - some.min(axis=2)))  # uint8: no overflow
        self._seen += 1
        self._mean += (value - self._mean) / min(self._seen, IMAGES)
        if self._seen < IMAGES:
            return ""
        if self._gray and self._mean > COLOUR:
            text = "the images are in colour but the model {} was trained on gray ones (thermal): it will miss what is "
            text += "there; set model to one for colour, or a thermal camera to white-hot"
            return text.format(self._name)
        if not self._gray and self._mean < GRAY:
            text = "the images are gray (thermal, or a camera at night) but the model {} was trained on colour: it "
            text += "will miss what is there; set model to one for gray images"
            return text.format(self._name)
        return ""
