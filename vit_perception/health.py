"""The node's health in plain values: what /diagnostics says, and how bad it is."""

from .alerts import ERROR, OK, WARN
from .stats import temperature_c


def report(node, now_s):
    """(level, one sentence, {key: text}) of a `PerceptionNode` at steady time `now_s`."""
    level, text = judge(node, now_s)
    stats, received, engine = node.stats, node.newest_received_s, node.engine
    values = {
        "input_fps": _number(stats.input_rate.per_second(now_s)),
        "output_fps": _number(stats.output_rate.per_second(now_s)),
        "received": stats.received,
        "processed": stats.processed,
        "dropped": stats.dropped,
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
            "model": node.bundle.name,
            "model_sha256": node.bundle.sha256,
            "backend": engine.name if engine else "",
            "backend_reason": engine.reason if engine else node.starting,
            "device": engine.device if engine else "",
            "precision": engine.precision if engine else "",
            "engine_sha256": engine.sha256 if engine else "",
            "golden_check": engine.proof if engine else "",
            "rejected": stats.rejected,
            "last_rejection": stats.last_rejection,
            "failures": stats.failures,
            "last_failure": stats.last_failure,
            "consecutive_failures": stats.consecutive_failures,
            "calibrated": "yes" if node.camera is not None else "no",
            "scan": "publishing" if not node.scan_silent else "silent: " + node.scan_silent,
            "temperature_c": _number(temperature_c()),
        }
    )
    return level, text, values


def judge(node, now_s):
    """(level, one sentence): the worst that is wrong."""
    stats, received, limits = node.stats, node.newest_received_s, node.values
    if stats.consecutive_failures >= limits["max_failures"]:
        return ERROR, "{} frames in a row failed: {}".format(stats.consecutive_failures, stats.last_problem)
    if node.starting:
        return WARN, node.starting
    if received is None:
        topic = node.image_topic
        return WARN, "no image on {} ({} publishers)".format(topic, node.count_publishers(topic))
    if now_s - received > limits["stale_after_s"]:
        return ERROR, "no image on {} for {:.1f} s".format(node.image_topic, now_s - received)
    if node.scan_silent:
        return WARN, "no obstacle scan: " + node.scan_silent
    return OK, "{:.1f} FPS".format(stats.output_rate.per_second(now_s))


def _number(value, digits=1):
    return "" if value is None else "{:.{}f}".format(value, digits)
