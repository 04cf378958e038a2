"""Every parameter of the node, declared once: name, default, range, unit, changeable at run time or not."""

import json
from collections import namedtuple

from .avoidance.blocked import BLOCKED, FARTHEST_M, ON_STALE
from .errors import PerceptionError

Spec = namedtuple("Spec", "name default low high unit read_only description")


def _fixed(name, default, description, low=None, high=None, unit=""):
    return Spec(name, default, low, high, unit, True, description)


def _live(name, default, description, low=None, high=None, unit=""):
    return Spec(name, default, low, high, unit, False, description)


# The bundle's, known, and declared, once it is open. A default here is for bundles that name none.
EVALUATED = (
    _live("score_threshold", None, "lowest score that is published and starts a track", 0.0, 1.0),
    _live(
        "weak_score", None, "lowest score that is looked at: published where it belongs to a confirmed track", 0.0, 1.0
    ),
    _live("nms_iou", None, "overlap above which the weaker box of a class is dropped, having voted", 0.0, 1.0),
    _live("high_bit_depth.scaling", "percentile", "how 16-bit and float images become 8 bits: percentile or fixed"),
    _live("high_bit_depth.low_percent", 1.0, "percentile that becomes black", 0.0, 100.0, "%"),
    _live("high_bit_depth.high_percent", 99.0, "percentile that becomes white", 0.0, 100.0, "%"),
    _live("high_bit_depth.min", 0.0, "raw value that becomes black, with fixed", -1e9, 1e9),
    _live("high_bit_depth.max", 65535.0, "raw value that becomes white, with fixed", -1e9, 1e9),
)

SPECS = (
    _fixed("autostart", True, "configure and activate at start; false waits for lifecycle transitions"),
    _fixed("model", "uav_thermal", "folder of a model bundle, or the name of an installed one"),
    _fixed("segment_only", False, "make masks alone: no detections, scan or alerts. RISK: nobody looks for obstacles"),
    _fixed("backend", "auto", "inference backend: auto, tensorrt or onnxruntime"),
    _fixed("precision", "auto", "auto, fp32, fp16 or int8; auto: fp16 with TensorRT (11: if in the bundle), else fp32"),
    _fixed("threads", 0, "CPU threads of ONNX Runtime; 0 lets it choose", 0, 64),
    _fixed("engine_cache", "", "folder of TensorRT engines; empty: vit_perception in $XDG_CACHE_HOME or ~/.cache"),
    _fixed("workspace_mb", 256, "scratch memory of TensorRT's builder", 16, 65536, "MB"),
    _live("engine_timeout_s", 10.0, "an engine that takes longer for one image ends the node; 0 off", 0.0, 600.0, "s"),
    _live("invert_image", False, "exchange dark and bright: for a camera that shows warm things dark"),
    _live(
        "slices", "1x1", "look at large images in slices too: 1x1 off, COLUMNSxROWS, or auto. Each costs an inference"
    ),
    _live("slices_per_frame", 0, "slices looked at in one image, in turn, while tracks carry the rest; 0: all", 0, 64),
    _live("class_filter", "", "labels that are looked at, comma-separated; empty: all. RISK: others alert nobody"),
    _live("max_rate_hz", 0.0, "images processed a second at most; 0: as many as the engine manages", 0.0, 1000.0, "Hz"),
    _fixed("image_transport", "raw", "raw: image_raw; compressed: image_raw/compressed"),
    _fixed("use_cv_bridge", False, "convert images with cv_bridge, which must be installed"),
    _fixed("reliable_input", False, "subscribe RELIABLE with a queue: for replay, not for flight"),
    _fixed("class_id_as_name", False, "publish class names, not indices, as class_id"),
    _fixed("rectified_input", False, "images went through image_proc: camera_info's P holds for them, not K and D"),
    _fixed("base_frame", "base_link", "the vehicle's frame, FLU, in ~/obstacles, TF and odometry"),
    _fixed("mount_from_tf", True, "take the camera's mount from /tf_static, where it says one"),
    _fixed("height_source", "none", "what tells base_link's height above ground: none, odometry, pose or range"),
    _fixed("publish_px4", False, "publish px4_msgs/ObstacleDistance on /fmu/in/obstacle_distance too"),
    _fixed("publish_mavros", False, "publish mavros_msgs StatusText and CompanionProcessStatus too"),
    _live("stale_after_s", 0.5, "no processed image for longer: the scan says what on_stale says", 0.1, 5.0, "s"),
    _live("max_failures", 5, "consecutive unusable frames: diagnostics ERROR, scan as on_stale says", 1, 1000),
    _live("on_stale", "silent", "what the scan says when nothing is known: silent (PX4) or blocked (ArduPilot)"),
    _fixed("guard_after_s", 0.5, "of the guard: the scan stopped for longer: the node is dead", 0.2, 5.0, "s"),
    _fixed("scan_frame", "base_link_frd", "frame_id of obstacle_scan"),
    _fixed("scan_rate_hz", 10.0, "steady rate of obstacle_scan", 1.0, 50.0, "Hz"),
    _live("range_min_m", 0.5, "least range in the scan", 0.1, 10.0, "m"),
    _live("range_max_m", 40.0, "largest range in the scan", 1.0, 600.0, "m"),
    _live("publish_clear", False, "report clear where nothing was detected; RISK: unseen is not absent"),
    _live("max_height_difference_m", 0.0, "obstacles farther above or below are left out; 0 off", 0.0, 1000.0, "m"),
    _live("camera_motion", True, "tell the tracker how the camera moved, from the images"),
    _live("pixel_growth", True, "take the growth of objects from their pixels too, for times to contact"),
    _live("tracker.iou_threshold", 0.2, "least overlap of a detection with a track's prediction", 0.01, 1.0),
    _live("tracker.margin", 0.25, "growth of boxes for matching, part of their size per side", 0.0, 2.0),
    _live("tracker.confirm_hits", 3, "consecutive detections that confirm a track", 1, 100),
    _live("tracker.weak_hits", 8, "consecutive detections that confirm a track without a strong one; 0: never", 0, 100),
    _live("tracker.max_coast_s", 0.5, "longest time that a track is told of without detections", 0.0, 5.0, "s"),
    _live("tracker.max_gap_s", 1.0, "pause between images that drops all tracks", 0.1, 10.0, "s"),
    _live("obstacles.camera_yaw_deg", 0.0, "camera in the body, right positive", -180.0, 180.0, "deg"),
    _live("obstacles.camera_pitch_deg", 0.0, "camera in the body, up positive", -90.0, 90.0, "deg"),
    _live("obstacles.camera_roll_deg", 0.0, "camera in the body, right side down positive", -180.0, 180.0, "deg"),
    _fixed("obstacles.classes", ["person", "car", "bicycle"], "classes of known height"),
    _fixed("obstacles.heights_m", [1.7, 1.6, 1.5], "their heights", 0.01, 1000.0, "m"),
    _fixed("obstacles.height_sigmas_m", [0.15, 0.25, 0.35], "spread of these heights", 0.0, 1000.0, "m"),
    _live("obstacles.min_hits", 6, "fewest sizes before a time to contact is told", 3, 100),
    _live("obstacles.max_ttc_s", 20.0, "longest time to contact that is reported", 1.0, 100.0, "s"),
    _live("obstacles.hold_s", 1.0, "a time to contact counts down while the size cannot be seen", 0.0, 5.0, "s"),
    _live("obstacles.border_px", 2.0, "a box this close to the border counts as cut off", 0.0, 100.0, "px"),
    _live("obstacles.box_sigma", 0.05, "standard deviation of a box's size, as a part of it", 0.0, 1.0),
    _live("obstacles.box_sigma_px", 1.5, "the same in pixels; both add up", 0.0, 50.0, "px"),
    _live("obstacles.height_sigma_m", 0.3, "standard deviation of the height above ground", 0.0, 100.0, "m"),
    _live("obstacles.level_sigma_deg", 1.0, "of the vehicle's attitude and the camera's mount", 0.0, 30.0, "deg"),
    _live("memory.near_m", 6.0, "an obstacle nearer than this when it vanishes is kept", 0.0, 100.0, "m"),
    _live("memory.near_s", 5.0, "or nearer than what is flown in this time", 0.0, 30.0, "s"),
    _live("memory.fills", 0.6, "or as large as this part of the image's width or height", 0.1, 2.0),
    _live("memory.hold_s", 5.0, "for so long, while the vehicle flies", 0.01, 60.0, "s"),
    _live("memory.hold_still_s", 60.0, "for so long, while it is slower than 1 m/s", 0.01, 600.0, "s"),
    _live("corridor.width_m", 0.8, "width of the vehicle, propellers included", 0.05, 20.0, "m"),
    _live("corridor.height_m", 0.5, "height of the vehicle", 0.05, 20.0, "m"),
    _live("corridor.margin_m", 0.5, "kept free around the vehicle", 0.0, 20.0, "m"),
    _live("corridor.reaction_s", 0.5, "from an alert to full braking", 0.0, 5.0, "s"),
    _live("corridor.deceleration_mps2", 3.0, "that the vehicle brakes with", 0.1, 30.0, "m/s^2"),
    _live("corridor.min_speed_mps", 0.5, "a slower vehicle counts as hovering", 0.0, 10.0, "m/s"),
    _live("corridor.axis_spread_deg", 10.0, "flight may differ so much from the optical axis", 0.0, 90.0, "deg"),
    _live("corridor.others_fly", False, "obstacles may leave the ground: birds, drones"),
    _live("corridor.keep_m", 1.5, "what is nearer threatens in any case", 0.0, 50.0, "m"),
    _live("motion_obstacles.enabled", False, "look for what has no class, in the way, by motion"),
    _live("motion_obstacles.least_points", 3, "points that must agree to be an obstacle", 2, 50),
    _live("motion_obstacles.min_size_m", 0.4, "what is smaller in both directions is not told", 0.0, 10.0, "m"),
    _live("motion_obstacles.min_speed_mps", 0.7, "a slower vehicle sees nothing by motion", 0.1, 10.0, "m/s"),
    _live("alerts.warn_ttc_s", 4.0, "time to contact that warns; 0 switches it off", 0.0, 60.0, "s"),
    _live("alerts.error_ttc_s", 2.0, "time to contact that raises ERROR; 0 switches it off", 0.0, 60.0, "s"),
    _live("alerts.warn_range_m", 8.0, "range that warns; 0 switches it off", 0.0, 1000.0, "m"),
    _live("alerts.error_range_m", 3.0, "range that raises ERROR; 0 switches it off", 0.0, 1000.0, "m"),
    _live("alerts.warn_lead_s", 2.0, "at known speed, warn so long before the last moment to brake", 0.0, 10.0, "s"),
    _live("alerts.error_lead_s", 0.5, "at known speed, ERROR so long before the last moment to brake", 0.0, 10.0, "s"),
    _live("alerts.release_factor", 1.3, "a level is held up to its threshold times this", 1.0, 5.0),
    _live("alerts.max_ttc_sigma", 0.35, "a time to contact is believed up to this relative sigma", 0.01, 10.0),
    _live("alerts.min_score", 0.0, "a track of a lower mean score alerts nobody", 0.0, 1.0),
    _live(
        "alerts.range_hits",
        8,
        "detections from which on a range alone alerts; 3 times as many if weak or it appeared",
        1,
        1000,
    ),
    _live("alerts.object_speed_mps", 8.0, "a time to contact that asks for more is a ghost", 0.0, 100.0, "m/s"),
    _live("alerts.trigger_count", 3, "consecutive frames that raise a level", 1, 100),
    _live("alerts.release_count", 5, "consecutive frames that lower a level", 1, 100),
    _fixed("finds.heading_source", "none", "whose heading is true: none (no finds), odometry, pose, px4"),
    _fixed("finds.classes", ["person"], "classes that are put on the map"),
    _fixed("finds.heights_m", [1.7], "their heights, of whose half a box's middle tells", 0.0, 100.0, "m"),
    _fixed("finds.min_looks", 3, "looks that confirm a find ...", 2, 1000),
    _fixed("finds.min_duration_s", 0.2, "... over so long ...", 0.0, 60.0, "s"),
    _fixed("finds.min_score", 0.5, "... of such a mean score", 0.0, 1.0),
    _fixed("finds.most", 10000, "finds that are kept", 10, 100000),
    _fixed("finds.position_sigma_m", 1.5, "each axis; the fix's own where that is larger", 0.0, 1000.0, "m"),
    _fixed("finds.height_sigma_m", 0.5, "height above ground, and how flat that is", 0.0, 1000.0, "m"),
    _fixed("finds.heading_sigma_deg", 5.0, "heading", 0.0, 90.0, "deg"),
    _fixed("finds.attitude_sigma_deg", 1.0, "roll and pitch", 0.0, 45.0, "deg"),
    _fixed("finds.mount_sigma_deg", 1.0, "the camera's mount", 0.0, 45.0, "deg"),
    _fixed("finds.clock_sigma_s", 0.1, "time between the stamps of images and of poses", 0.0, 10.0, "s"),
    _fixed("finds.clock_offset_s", 0.0, "known part of that, added to image stamps", -3600.0, 3600.0, "s"),
    _fixed("finds.cell_m", 2.0, "cells of the area covered", 0.1, 100.0, "m"),
    _fixed("finds.area", "", "GeoJSON file of the area to search; empty: none"),
    _fixed("finds.folder", "~/.ros/vit_perception/finds", "where the files of each flight go; empty: nowhere"),
    _fixed("finds.write_every_s", 3.0, "time between two writes", 0.5, 600.0, "s"),
    _fixed("landing.enabled", False, "offer ~/find_landing. RISK: a class is no proof of level ground"),
    _fixed("landing.classes", ["ground"], "classes of the masks that count as flat"),
    _live("landing.point", [0.5, 0.5], "where to look in the image: parts of its width and height", 0.0, 1.0),
    _live("landing.search_m", 10.0, "how far from there, on the ground, the circle's centre may be", 0.0, 100.0, "m"),
    _live("debug.mask_opacity", 0.35, "of a mask's colours in ~/debug_image; 0: none", 0.0, 1.0),
    _live("debug.max_rate_hz", 5.0, "of ~/debug_image; 0: every picture", 0.0, 100.0, "Hz"),
    _live("debug.jpeg_quality", 80, "of ~/debug_image/compressed", 1, 100),
    _fixed("dump.seconds", 0.0, "~/dump writes the last so many seconds to a bag; 0 keeps nothing", 0.0, 600.0, "s"),
    _fixed("dump.max_mb", 64, "memory for them at most", 1, 65536, "MB"),
    _fixed("dump.folder", "~/.ros/vit_perception", "where the bags go"),
)

HEIGHT_SOURCES = ("none", "odometry", "pose", "range")

_CHOICES = {
    "height_source": HEIGHT_SOURCES,
    "on_stale": ON_STALE,
    "finds.heading_source": ("none", "odometry", "pose", "px4"),
    "image_transport": ("raw", "compressed"),
    "high_bit_depth.scaling": ("percentile", "fixed"),  # images.high_bit_depth.SCALINGS
}

# What a node that only segments cannot do, and the value that does not ask for it.
_NEED_DETECTIONS = {
    "publish_px4": False, "on_stale": "silent", "publish_clear": False, "motion_obstacles.enabled": False,
    "finds.heading_source": "none", "class_filter": "", "slices": "1x1", "slices_per_frame": 0,
}  # fmt: skip

# (a, b): a must not exceed b, unless b is off (0).
_ORDERED = (
    ("range_min_m", "range_max_m"),
    ("alerts.error_ttc_s", "alerts.warn_ttc_s"),
    ("alerts.error_range_m", "alerts.warn_range_m"),
    ("alerts.error_lead_s", "alerts.warn_lead_s"),
)
# What parameters of earlier releases are called now.
RENAMED = {"deep." + n: "high_bit_depth." + n for n in ("scaling", "low_percent", "high_percent", "min", "max")}
_INCREASING = (
    ("high_bit_depth.low_percent", "high_bit_depth.high_percent"),
    ("high_bit_depth.min", "high_bit_depth.max"),
)


def check(values):
    """What single ranges cannot say: one sentence about what is wrong with `values` (by name), or ''.

    Those of EVALUATED may be missing: no bundle is open yet.
    """
    for low, high in _ORDERED:
        if values[low] > values[high] > 0:
            return "{} ({}) must not exceed {} ({})".format(low, values[low], high, values[high])
    for low, high in _INCREASING:
        if low in values and values[low] >= values[high]:
            return "{} ({}) must be less than {} ({})".format(low, values[low], high, values[high])
    for name, choices in _CHOICES.items():
        if name in values and values[name] not in choices:
            return "{} ({}) must be one of {}".format(name, values[name], ", ".join(choices))
    from . import slices  # with NumPy: the guard has no memory for it

    try:
        slices.parse(values["slices"])
    except ValueError as e:
        return str(e)
    problem = check_blocked(values)
    if problem:
        return problem
    if values["finds.heading_source"] == "pose" and values["height_source"] != "pose":
        return "finds.heading_source is pose, but height_source is {}: both come from one topic".format(
            values["height_source"]
        )
    if values["segment_only"]:
        for name, off in _NEED_DETECTIONS.items():
            if values[name] != off:
                text = "segment_only makes no detections, so {} must be {}, not {}"
                return text.format(name, json.dumps(off), json.dumps(values[name]))
    if len(values["landing.point"]) != 2:
        return "landing.point has {} entries; it must have two, x and y".format(len(values["landing.point"]))
    if len(values["finds.classes"]) != len(values["finds.heights_m"]):
        return "finds.classes and finds.heights_m have {} and {} entries; they must agree".format(
            len(values["finds.classes"]), len(values["finds.heights_m"])
        )
    tables = [values["obstacles." + n] for n in ("classes", "heights_m", "height_sigmas_m")]
    if len({len(t) for t in tables}) != 1:
        text = "obstacles.classes, heights_m, height_sigmas_m have {}, {}, {} entries; they must agree"
        return text.format(*[len(t) for t in tables])
    for s in SPECS:
        bounded = isinstance(s.default, list) and s.low is not None
        if bounded and not all(s.low <= v <= s.high for v in values[s.name]):
            return "{} must hold numbers from {} to {}".format(s.name, s.low, s.high)
    return ""


def check_blocked(values):
    """What is wrong with the parameters of the blocked scan, the guard's among them: one sentence, or ''."""
    if values["on_stale"] not in ON_STALE:
        return "on_stale ({}) must be one of {}".format(values["on_stale"], ", ".join(ON_STALE))
    if values["on_stale"] == BLOCKED and values["range_min_m"] > FARTHEST_M:
        text = "on_stale is blocked, which stops no vehicle with range_min_m ({}) above {}"
        return text.format(values["range_min_m"], FARTHEST_M)
    return ""


def evaluated(bundle):
    """{name: value} of EVALUATED as the bundle was evaluated with; without scores where it only segments."""
    from .images.high_bit_depth import conversion  # with OpenCV: the guard has no memory for it

    limits, found = bundle.thresholds, {}
    if limits:
        found = {"score_threshold": float(limits["score"]), "nms_iou": float(limits["nms_iou"])}
        found["weak_score"] = float(limits.get("weak_score", limits["score"]))
    return dict(found, **{k: v if isinstance(v, str) else float(v) for k, v in conversion(bundle.input).items()})


def defaults(bundle):
    """{name: value} of all parameters where nobody sets any."""
    return dict({s.name: s.default for s in SPECS}, **evaluated(bundle))


def wanted_classes(class_filter, labels):
    """Indices of the labels that the parameter class_filter names, in any case; None where it names none.

    Raises:
        PerceptionError: it names a label that the model does not have.
    """
    names = [n.strip().lower() for n in class_filter.split(",") if n.strip()]
    known = [label.lower() for label in labels]
    for name in names:
        if name not in known:
            text = "class_filter names '{}', but the model's labels are {}"
            raise PerceptionError(text.format(name, ", ".join(labels)))
    return [known.index(n) for n in names] or None


def renamed(names):
    """One sentence about the first of `names` that is an earlier release's, or ''."""
    for name in sorted(n for n in names if n in RENAMED):
        return "parameter {} is called {} now; rename it where you set it".format(name, RENAMED[name])
    return ""
