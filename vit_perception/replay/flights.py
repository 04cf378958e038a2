"""Recorded flights as frames for the pipeline, in this process and without a running node."""

import os
from typing import Any, List

from ..errors import ImageError, PerceptionError
from ..images.files import SUFFIXES
from ..images.high_bit_depth import to_uint8
from ..images.read import ImageReader
from ..recording.bag import is_bag, open_bag
from ..recording.bag_inputs import find_inputs, make_decoder
from ..recording.calibration_file import camera_of
from ..recording.sources import Images, Video
from ..ros.calibration import Calibration

EGO_TYPES = {
    "odometry": "nav_msgs/msg/Odometry",
    "twist": "geometry_msgs/msg/TwistStamped",
    "fix": "sensor_msgs/msg/NavSatFix",
}
HEIGHT_TYPES = {"pose": "geometry_msgs/msg/PoseStamped", "range": "sensor_msgs/msg/Range"}


class Frame:
    """What `Pipeline.process` takes: image, order, stamp_s, camera, mount, ego; the name of the file, or ''; and what
    the vehicle told since the frame before, as `vit_perception.ros.finds.FindsInputs.read` returns it."""

    __slots__ = ("image", "order", "stamp_s", "camera", "mount", "ego", "name", "told")

    def __init__(self, image, order, stamp_s, camera=None, mount=None, ego=None, name="", told=()):
        self.image, self.order, self.stamp_s, self.name = image, order, stamp_s, name
        self.camera, self.mount, self.ego, self.told = camera, mount, ego, told


def kind_of(path):
    """'folder', 'video' or 'bag'. Raises PerceptionError if there is nothing."""
    if not os.path.exists(path):
        raise PerceptionError("nothing at '{}'; give a folder of images, a video or a bag".format(path))
    if is_bag(path):
        return "bag"
    if os.path.isdir(path):
        return "folder"
    if path.lower().endswith(SUFFIXES):  # OpenCV takes it for a video of all images with such a name
        raise PerceptionError("'{}' is one image; give its folder, a video or a bag".format(path))
    return "video"


def assumed_rate(pictures, fps):
    """One sentence if nobody says how many images a second there are, or ''."""
    if fps or "fps" in pictures.calibration or pictures.tells_rate:
        return ""
    text = "{:g} images a second are assumed, and times to contact depend on it; set --fps, or fps in camera.yaml"
    return text.format(pictures.fps)


def open_flight(path, values, fps=0.0, given=None, warn=print):
    """A recorded flight.

    Args:
        path: folder of images, video, or bag. values: the node's parameters by name.
        fps: of a folder or video; 0 takes what is recorded.
        given: {input: topic} for a bag, as `vit_perception.recording.bag_inputs.find_inputs` takes it.
        warn: warn(sentence).

    Returns:
        an iterable of `Frame` with `len` (0: unknown), `fps`, `source` (text), `rejected` (images that could not be
        read) and `problem` (what else is wrong with the recording, or '').

    Raises:
        PerceptionError: it cannot be opened; iterating raises it for what is damaged.
    """
    kind = kind_of(path)
    if kind == "bag":
        return BagFlight(path, values, given or {}, warn)
    return PictureFlight(Images(path) if kind == "folder" else Video(path), path, values, fps, warn)


class PictureFlight:
    """A folder or a video: image i has the stamp i / fps; nothing is known of the vehicle.

    A file that cannot be read is rejected, its place in time is kept, and `problem` tells in the end.
    """

    told: List[tuple] = []

    def __init__(self, pictures, path, values, fps, warn):
        self._pictures, self._values, self.source, self.rejected, self.problem = pictures, values, path, 0, ""
        self._warn, self.fps = Once(warn), fps or pictures.fps
        self._camera, problem = camera_of(pictures.calibration)
        for sentence in (problem, assumed_rate(pictures, fps)):
            if sentence:
                self._warn(sentence, sentence)

    def __len__(self):
        return len(self._pictures)

    def __iter__(self):
        first = ""
        for i, (name, image, problem) in enumerate(self._pictures.named()):
            self._tell_notes()
            if problem:
                self.rejected += 1
                self._warn(problem, problem)
                first = first or problem
                self.problem = "cannot read {} of the images; the first: {}".format(self.rejected, first)
                continue
            if image.dtype != "uint8":
                image = to_uint8(image, self._values)
            camera = self._camera_for(image.shape[1], image.shape[0])
            yield Frame(image, "mono" if image.ndim == 2 else "bgr", i / self.fps, camera, name=name)
        self._tell_notes()

    def _tell_notes(self):
        for sentence in self._pictures.notes:
            self._warn(sentence, sentence)

    def _camera_for(self, width, height):
        camera = self._camera
        if camera is None or camera.fits(width, height):
            return camera
        text = "{} is for {} x {} pixels, but images have {} x {}: no ranges, no scan"
        path = self._pictures.calibration["path"]
        self._warn("size", text.format(path, camera.width, camera.height, width, height))
        return None


class BagFlight:
    """A bag: stamps, calibration and what it tells of the vehicle as recorded; ages are judged by recording time.

    told: what the vehicle told since the newest frame, as of `Frame`.
    """

    def __init__(self, path, values, given, warn):
        self._bag, self._values, self._decode = open_bag(path), values, make_decoder()
        self._inputs = find_inputs(self._bag.topics, given)
        self._reader, self._warn = ImageReader(values), Once(warn)
        for note in self._bag.notes:
            self._warn(note, note)
        self._calibration = Calibration(values, self._warn)
        self._ego: Any = _ego_inputs(values, self._warn)
        self.told: List[tuple] = []
        self._finds: Any = None
        self._drop_unknown_inputs()
        self._px4 = self._px4_inputs()
        if "fix" in self._inputs or self._px4:
            self._listen(self._warn)
        elif self._values["finds.heading_source"] in ("odometry", "pose"):
            fixes = sorted(t for t, kind in self._bag.topics.items() if kind == EGO_TYPES["fix"])
            text = "no finds, for the bag has no positions on /fix; name their topic with --topic fix:=TOPIC"
            self._warn("no_fix", text + (" (it has {})".format(", ".join(fixes)) if fixes else ""))
        self.fps, self.rejected = mean_rate(self._bag, self._inputs["image_raw"]), 0
        self.problem = self._bag.damage
        self.source = "{} ({})".format(path, ", ".join("{} from {}".format(*i) for i in sorted(self._inputs.items())))

    def _drop_unknown_inputs(self):
        kinds = dict(EGO_TYPES, height=HEIGHT_TYPES.get(self._values["height_source"]))
        for name in sorted(set(self._inputs) & {"odometry", "twist", "height", "fix", "/tf_static"}):
            if self._ego is None:
                self._warn(name, "{} in the bag is not used: that takes ROS 2".format(name))
            elif name in kinds and kinds[name] != self._bag.topics[self._inputs[name]]:
                text = "{} in the bag is not used: it is a {}, not a {}"
                self._warn(name, text.format(name, self._bag.topics[self._inputs[name]], kinds[name]))
            else:
                continue
            del self._inputs[name]

    def _px4_inputs(self):
        """{topic of PX4's own: which}, where finds.heading_source is px4."""
        if self._values["finds.heading_source"] != "px4":
            return {}
        topics = {} if self._ego is None else _px4_topics()
        there = {t: name for t, name in topics.items() if t in self._bag.topics}
        if not there:
            text = "finds.heading_source is px4, but {}: no finds"
            reason = "reading its topics takes ROS 2 and px4_msgs"
            if topics:
                reason = "the bag holds neither {}".format(" nor ".join(sorted(topics)))
            self._warn("finds_px4", text.format(reason))
        return there

    def __len__(self):
        return self._bag.counts[self._inputs["image_raw"]]

    def __iter__(self):
        inputs = {topic: name for name, topic in self._inputs.items()}
        for topic, stamp_ns, data in self._bag.messages(sorted(set(inputs) | set(self._px4))):
            name, msg = inputs.get(topic, ""), self._decode(data, self._bag.topics[topic])
            if topic in self._px4:
                self.told += self._finds.read_px4(self._px4[topic], msg)
            elif name == "image_raw":
                frame = self._frame(msg, 1e-9 * stamp_ns)
                if frame is not None:
                    yield frame
            elif name == "camera_info":
                self._calibration.take(msg)
            elif name == "/tf_static":
                self._ego.on_transforms(msg)
            else:
                self._ego.take(name, msg, 1e-9 * stamp_ns)

    def _frame(self, msg, recorded_s):
        try:
            image, order = self._reader.read(msg)
        except ImageError as e:
            self.rejected += 1
            self._warn("image", "image rejected: {}".format(e))
            return None
        camera = self._calibration.camera_for(image.shape[1], image.shape[0])
        mount = ego = None
        if self._ego is not None:
            mount = self._ego.mount(msg.header.frame_id) if self._values["mount_from_tf"] else None
            if self._ego.mount_problem:
                self._warn("mount_frame", self._ego.mount_problem)
            ego = self._ego.ego(recorded_s)
        stamp_s = msg.header.stamp.sec + 1e-9 * msg.header.stamp.nanosec
        told, self.told = self.told, []
        return Frame(image, order, stamp_s, camera, mount, ego, told=told)

    def _listen(self, warn):
        """What the vehicle tells goes to the finds too."""
        from ..ros.finds import FindsInputs

        self._finds = FindsInputs(self._values, warn)

        def on_message(name, msg, now_s):
            if name != "twist":
                self.told += self._finds.read(name, msg, self._ego, now_s)

        self._ego.listener = on_message


def _ego_inputs(values, warn):
    try:
        from ..ros.ego import EgoInputs  # knows the message classes of ROS
    except ImportError:
        return None
    return EgoInputs(values["base_frame"], values["height_source"], warn)


def _px4_topics():
    """{topic: what `FindsInputs.read_px4` calls it}; {} without px4_msgs."""
    from ..ros import px4_pose

    if px4_pose.VehicleAttitude is None:
        return {}
    return {px4_pose.ATTITUDE: "attitude", px4_pose.POSITION: "position"}


def mean_rate(bag, topic):
    """Messages a second of a topic over the whole bag, from 1 to 120; for the speed of a video."""
    return min(max((bag.counts[topic] - 1) / max(bag.duration_s, 1e-3), 1.0), 120.0)


class Once:
    """warn(kind, sentence) that says each kind once."""

    def __init__(self, say):
        self._say, self._said = say, set()

    def __call__(self, kind, sentence):
        if kind not in self._said:
            self._said.add(kind)
            self._say(sentence)
