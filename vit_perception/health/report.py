"""The node's health in plain values: what /diagnostics says, and how bad it is."""

from ..avoidance.alerts import ERROR, OK, WARN
from .board import rss_mb, temperature_c, throttling

MAX_AHEAD_S = 0.5
MAX_BEHIND_S = 0.5  # on arrival: a stream that buffers, or stamps of another clock. PX4 forgets data older than that
STALE = "newest processed image is stale"
SEGMENT_ONLY = "segment_only: nobody looks for obstacles"


def report(node, now_s):
    """(level, one sentence, {key: text}) of a `PerceptionNode` at steady time `now_s`."""
    level, text = overall_state(node, now_s)
    stats, received, engine = node.stats, node.newest_received_s, node.engine
    values = {
        "state": node.state,
        "input_fps": _number(stats.input_rate.per_second(now_s)),
        "output_fps": _number(stats.output_rate.per_second(now_s)),
        "received": stats.received,
        "processed": stats.processed,
        "dropped": stats.dropped,
        "skipped": stats.skipped,
        "newest_frame_age_s": _number(None if received is None else now_s - received, 3),
        "latency_ms_p50": _number(stats.latency_ms.percentile(50)),
        "latency_ms_p95": _number(stats.latency_ms.percentile(95)),
        "response_ms_p50": _number(stats.response_ms.percentile(50)),
        "response_ms_p95": _number(stats.response_ms.percentile(95)),
    }
    for name, samples in list(stats.stages.items()):
        for q in (50, 95):
            values["{}_ms_p{}".format(name, q)] = _number(samples.percentile(q), 2)
    values.update(
        {
            "model": node.bundle.name if node.bundle else node.values["model"],
            "model_sha256": node.bundle.sha256 if node.bundle else "",
            "backend": engine.name if engine else "",
            "backend_reason": engine.reason if engine else node.doing,
            "device": engine.device if engine else "",
            "precision": engine.precision if engine else "",
            "engine_sha256": engine.sha256 if engine else "",
            "golden_check": engine.proof if engine else "",
            "rejected": stats.rejected,
            "last_rejection": stats.last_rejection,
            "failures": stats.failures,
            "last_failure": stats.last_failure,
            "consecutive_failures": stats.consecutive_failures,
            "callback_failures": stats.callback_failures,
            "calibrated": "yes" if node.calibration.camera is not None else "no",
            "mount": node.mount_source,
            "ego": node.ego_inputs.known(now_s),
            "motion_obstacles": node.pipeline.motion_obstacles.state if node.pipeline and node.finds else "off",
            "subscribers": ", ".join("{} {}".format(*item) for item in sorted(node.subscribers.items())),
            "warnings": node.notices.current(),
            "scan": scan_state(node),
            "temperature_c": _number(temperature_c()),
            "throttling": throttling(),
            "rss_mb": _number(rss_mb()),
        }
    )
    for part in (node.finds, node.segmentation):
        if part is not None:
            values.update(part.status())
    return level, text, values


def scan_state(node):
    """'publishing', or 'silent' or 'blocked' and why."""
    if not node.scan_silent:
        return "publishing"
    return "{}: {}".format("blocked" if node.outputs is not None and node.blocking else "silent", node.scan_silent)


def overall_state(node, now_s):
    """(level, one sentence): the worst that is wrong."""
    stats, received, limits = node.stats, node.newest_received_s, node.values
    if node.doing:
        return WARN, node.doing
    if node.state != "active":
        return WARN, "the node is {}: nothing is published".format(node.state)
    busy_since = node.busy_since
    if busy_since is not None and now_s - busy_since > max(1.0, limits["stale_after_s"]):
        return ERROR, "the engine has been busy with one image for {:.1f} s".format(now_s - busy_since)
    if stats.consecutive_failures >= limits["max_failures"]:
        return ERROR, "{} frames in a row failed: {}".format(stats.consecutive_failures, stats.last_problem)
    if received is None:
        return WARN, node.inputs.why_no_image()
    if now_s - received > limits["stale_after_s"]:
        return ERROR, node.inputs.why_no_more_images(now_s - received)
    names = node.get_node_names_and_namespaces().count((node.get_name(), node.get_namespace()))
    if names > 1:
        text = "{} nodes are called {}: their topics are mixed up; give each a namespace"
        return ERROR, text.format(names, node.get_fully_qualified_name())
    if node.scan_silent and node.scan_silent != SEGMENT_ONLY:
        return ERROR if node.scan_silent == STALE else WARN, "no obstacle scan: " + node.scan_silent
    rate = "{:.1f} FPS".format(stats.output_rate.per_second(now_s))
    if node.notices.held:
        return WARN, "{}, but {}".format(rate, node.notices.held[0])
    return OK, rate


def stamp_problem(stamp_s, previous_s, now_s):
    """What is wrong with an image's stamp, as (kind, sentence), or None.

    Args:
        stamp_s: of this image. previous_s: of the one before, or None. now_s: the ROS clock; 0 while simulated time
            has not begun.
    """
    if stamp_s <= 0:
        return "stamp_zero", "images have no stamps (zero): no time to contact"
    if previous_s is not None and stamp_s == previous_s:
        return "stamp_repeated", "two images in a row have the same stamp: no time to contact from them"
    if previous_s is not None and stamp_s < previous_s:
        return "stamp_back", "image stamps went back by {:.3f} s: all tracks start anew".format(previous_s - stamp_s)
    if now_s > 0 and stamp_s > now_s + MAX_AHEAD_S:
        text = "image stamps are {:.1f} s ahead of the ROS clock: is use_sim_time right, are clocks synchronised?"
        return "stamp_future", text.format(stamp_s - now_s)
    if now_s > 0 and stamp_s < now_s - MAX_BEHIND_S:
        text = "image stamps are {:.1f} s behind the ROS clock: PX4 takes /fmu/in/obstacle_distance for stale"
        return "stamp_old", text.format(now_s - stamp_s)
    return None


def _number(value, digits=1):
    return "" if value is None else "{:.{}f}".format(value, digits)
