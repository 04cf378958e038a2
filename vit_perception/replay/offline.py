"""Every frame of a recorded flight through the pipeline in this process."""

import math
import os
import sys
import time
from typing import Dict

from .. import parameters
from ..bundles.bundle import find_bundle, open_bundle
from ..bundles.manifest import SEGMENT
from ..draw import draw
from ..engines import open_configured
from ..errors import PerceptionError
from ..finds.search import Search
from ..motion_obstacles import by_motion
from ..pipeline import make_pipeline
from ..segmentation.alone import SegmentOnly
from ..segmentation.overlay import Overlay
from ..stats import Samples, Stopwatch
from . import parameters_file
from .flights import Once, open_flight
from .report import LEVELS, FlightReport, Notes

LEAST_WIDTH = 640  # of the pictures in a report, pixels: letters need room


def read_parameters(args, say=print):
    """(bundle, {parameter name: value}) as the node would have them with this file and these options."""
    plain = {s.name: s.default for s in parameters.SPECS + parameters.EVALUATED}
    options = {n: getattr(args, n) for n in ("model", "backend", "precision") if getattr(args, n) is not None}
    model = options.get("model", plain["model"])
    if args.params and "model" not in options:
        known = {n: 0.0 if v is None else v for n, v in plain.items()}  # the bundle's are not known yet
        model = parameters_file.read(args.params, known)[0]["model"]
    bundle = open_bundle(find_bundle(model))
    values = parameters.defaults(bundle)
    if args.params:
        values, unknown = parameters_file.read(args.params, values)
        if unknown:
            say("{}: not parameters of the node, ignored: {}".format(args.params, ", ".join(unknown)))
    values = parameters_file.overlay(values, options, "options")
    if bundle.task == SEGMENT:  # of a recorded flight nobody needs to be kept from flying with it
        values["segment_only"] = True
    return bundle, values


def replay_offline(args, given, stop, say=print):
    """Every frame through the pipeline, until the end or `stop` (threading.Event). Raises PerceptionError."""
    bundle, values = read_parameters(args, say)
    notes = Notes(say)
    flight = open_flight(os.path.expanduser(args.source), values, args.fps, given, notes)
    engine = open_configured(bundle, values, say, stop)
    try:
        pipeline = make_pipeline(bundle, engine, values)
        about = {
            "source": flight.source,
            "model": "{} {}".format(bundle.name, bundle.sha256[:12]),
            "engine": "{}, {}, {}: {}".format(engine.name, engine.device, engine.precision, engine.reason),
        }
        report = FlightReport(args.out, about, flight.fps, len(flight), notes)
        search = Search(values, bundle.labels, Once(notes), os.path.join(report.folder, "finds"))
        fly(flight, pipeline, report, stop, say, notes, bundle, search, values["debug.mask_opacity"])
    finally:
        engine.close()


def fly(flight, pipeline, report, stop, say, notes, bundle, search, opacity=0.0):
    """Process the frames of `flight` into `report` and `search`; what goes wrong is raised once they are written.

    notes: `Notes`. bundle: to say what it is not made for. opacity: of masks in the pictures.
    """
    stages: Dict[str, Samples] = {}
    begun, problem = time.monotonic(), None
    progress = Progress(len(flight), say)
    try:
        for frame in flight:
            if stop.is_set():
                break
            result, overlay, stage_ms = look_at(frame, pipeline, search, opacity)
            for name, ms in stage_ms.items():
                stages.setdefault(name, Samples(100000)).add(ms)
            problems = list(pipeline.problems(frame.image, frame.order).values())
            height, width = frame.image.shape[:2]
            for sentence in problems + [bundle.shrinks(width, height, pipeline.slices)]:
                if sentence:
                    notes(sentence)
            zoom = -(-LEAST_WIDTH // width)
            picture = draw(frame.image, frame.order, result, pipeline.names, zoom, overlay)
            found = rows(result, pipeline.names) if result is not None else ([], [], None)
            report.add(frame.stamp_s, picture, *found, name=frame.name, calibrated=frame.camera is not None)
            progress.step(report.frames)
        if flight.problem:
            problem = PerceptionError(flight.problem)
    except PerceptionError as e:
        problem = e
    if search.frame is not None:
        tell(search, flight.told)  # what came after the last image
    search.close()
    if search.writer.folder:
        report.links.append("finds/finds.html")
    table = {
        name: {"p50_ms": round(s.percentile(50), 3), "p95_ms": round(s.percentile(95), 3)} for name, s in stages.items()
    }
    if search.writer.folder:
        page = os.path.join(search.writer.folder, "finds.html")
        say("{}; {} images placed, {} without a pose: {}".format(search.count(), search.placed, search.unplaced, page))
    finish(report, table, begun, stop, problem, flight.rejected, say)


def tell(search, told):
    """Hand over what the vehicle told, as `Frame.told` has it."""
    for method, arguments in told:
        getattr(search, method)(*arguments)


def look_at(frame, pipeline, search, opacity):
    """(Result or None, Overlay or None, {stage: milliseconds}) of one frame, which `search` sees too.

    opacity: of masks in pictures; 0: none are made.
    """
    if isinstance(pipeline, SegmentOnly):
        result, stage_ms = None, pipeline.process(frame.image, frame.order)
    else:
        result = pipeline.process(frame.image, frame.order, frame.stamp_s, frame.camera, frame.mount, frame.ego)
        stage_ms = result.stage_ms
        tell(search, frame.told)
        if search.frame is not None:
            mount = pipeline.mount if frame.mount is None else frame.mount
            search.add_image(frame.stamp_s, result.tracks, frame.image, frame.order, frame.camera, mount)
    segmenter = pipeline.segmenter
    if segmenter is None or opacity <= 0:
        return result, None, stage_ms
    watch = Stopwatch()
    mask = segmenter.newest(frame.image.shape[1], frame.image.shape[0])
    watch.stop("segmentation")
    return result, Overlay(mask, segmenter.labels, segmenter.colors, opacity), dict(stage_ms, **watch.stage_ms)


def finish(report, table, begun, stop, problem, rejected, say):
    """Write the report and print its table ({stage: {'p50_ms', 'p95_ms'}}); raises `problem` after that."""
    seconds = time.monotonic() - begun
    note = str(problem) if problem else "interrupted" if stop.is_set() else ""
    rate = round(report.frames / max(seconds, 1e-6), 2)
    report.close({"rejected": rejected, "seconds": round(seconds, 2), "fps": rate, "stages": table}, note)
    say("{:<20}{:>10}{:>10}".format("stage", "p50 ms", "p95 ms"))
    for name, figures in table.items():
        say("{:<20}{:>10.2f}{:>10.2f}".format(name, figures["p50_ms"], figures["p95_ms"]))
    text = "{} frames in {:.1f} s, {} alerts, {} rejected; report: {}"
    say(text.format(report.frames, seconds, report.alerts, rejected, os.path.join(report.folder, "index.html")))
    if problem:
        raise problem
    if not report.frames and not stop.is_set():
        raise PerceptionError("not one image of the recording could be used")


def rows(result, labels):
    """(detections, tracks, alert) of a `Result`, as `FlightReport.add` takes them."""
    found, ids = result.detections, {t.detection: t.id for t in result.tracks}
    names = ("x1", "y1", "x2", "y2")
    detections = [
        dict(zip(names, found.boxes[i]), score=found.scores[i], track_id=ids.get(i, ""), **{"class": labels[c]})
        for i, c in enumerate(found.classes.tolist())
    ]
    current = {t.id for t in result.tracks}
    tracks = []
    for o in result.obstacles:
        seen = "yes" if o.track.detection >= 0 else "predicted"
        if by_motion(o):
            seen = "predicted" if o.remembered else "by motion"
        elif o.track.id not in current:
            seen = "remembered"
        tracks.append(dict(_known(o, labels), seen=seen))
    alert = result.alert
    if not (alert.level or alert.cleared):
        return detections, tracks, None
    known = _known(alert.obstacle, labels) if alert.obstacle is not None else {}
    return detections, tracks, dict(known, level=LEVELS[alert.level], threat=alert.threat)


def _known(o, labels):
    names = ("range_m", "range_sigma_m", "ttc_s", "ttc_sigma_s", "threatens")
    row = {name: getattr(o, name) for name in names}
    row.update({"track_id": o.track.id, "class": labels[o.track.class_index]})
    row.update(zip(("x1", "y1", "x2", "y2"), o.track.box))
    row["bearing_deg"] = None if o.bearing is None else math.degrees(o.bearing)
    return row


class Progress:
    """One line that says how far it is: in place on a terminal, else every ten seconds."""

    def __init__(self, total, say):
        self._total, self._say, self._begun = total, say, time.monotonic()
        self._tty, self._shown = sys.stdout.isatty(), time.monotonic()

    def step(self, done):
        """`done` of the total are done."""
        now = time.monotonic()
        if now - self._shown < (0.2 if self._tty else 10.0) and not (self._tty and done == self._total):
            return
        self._shown = now
        rate = done / max(now - self._begun, 1e-6)
        text = "{} frames, {:.1f} a second".format(done, rate)
        if self._total:
            left = max(self._total - done, 0) / max(rate, 1e-6)
            text = "{:3.0f}%  {} of {}, {:.0f} s left".format(100.0 * done / self._total, text, self._total, left)
        if self._tty:
            print("\r{:<70}".format(text), end="\n" if done == self._total else "", flush=True)
        else:
            self._say(text)
