"""The page that shows a replay: one file of HTML beside the video, the tables and the pictures."""

import html
import pkgutil

from .. import palette

_BOXES = (
    (palette.THREATENS, "", "threatens: the vehicle will hit it, or come too near"),
    (palette.NOT_JUDGED, "", "not judged: too little is known of it"),
    (palette.PASSES, "", "passes"),
    (palette.NO_TRACK, "thin", "a detection that is no track (yet)"),
    (palette.NOT_JUDGED, "dashed", "dashed, of any colour: not seen now, but predicted or remembered"),
)
MOST_NOTES = 10
_ALERTS = ((palette.WARNING, "", "alert WARN"), (palette.THREATENS, "", "alert ERROR"))


def style_sheet():
    """The style sheet of the project's pages, with the colours of `palette`."""
    sheet = pkgutil.get_data("vit_perception.replay", "style.css")
    assert sheet is not None  # it is a part of the package
    return palette.css() + "\n" + sheet.decode("utf-8")


def page(facts, counts, stages, timeline, video, pictures, files):
    """The page as text.

    Args:
        facts: {name: value} about the flight and the model; empty ones are left out. 'note' is what went wrong, 'notes'
            are warnings.
        counts: `Counts` of report.py. stages: {stage: {'p50_ms', 'p95_ms'}}.
        timeline: an SVG image. video: (name of the file or '', whether browsers play it).
        pictures: [(name, why)]. files: names of all files to link.
    """
    shape = '<p class="note{}">{}</p>'
    note = shape.format(" bad", html.escape(str(facts["note"]))) if facts.get("note") else ""
    note += "".join(shape.format("", html.escape(text)) for text in facts.get("notes", ())[:MOST_NOTES])
    body = "".join(
        [
            "<header><h1>Replay</h1><p>{}</p></header>".format(html.escape(str(facts.get("source", "")))),
            note,
            _cards(counts, facts),
            _video(*video),
            "<h2>Timeline</h2><figure>{}<figcaption>Each dot is a track in a frame; tracks differ in colour, which "
            "says nothing of threats.</figcaption></figure>".format(timeline),
            _table_of_classes(counts),
            _pictures(pictures),
            "<h2>Milliseconds</h2>",
            _table(("stage", "p50", "p95"), [(k, _ms(v["p50_ms"]), _ms(v["p95_ms"])) for k, v in stages.items()]),
            "<h2>How it was made</h2>",
            _list([(k, v) for k, v in facts.items() if v != "" and k not in ("stages", "note", "notes")]),
            "<h2>Files</h2><p>{}</p>".format(" &middot; ".join('<a href="{0}">{0}</a>'.format(n) for n in files)),
            "<footer>Made by vit_perception. A detector that sees nothing is no proof of free space.</footer>",
        ]
    )
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += '<meta name="color-scheme" content="light dark"><title>Replay</title><style>{}</style>'
    shape = '<!DOCTYPE html>\n<html lang="en"><head>{}</head><body><main>{}</main></body></html>\n'
    return shape.format(head.format(style_sheet()), body)


def _cards(counts, facts):
    alerts = "{} WARN, {} ERROR".format(counts.warnings, counts.errors)
    seconds = "{:.1f} s of flight".format(counts.seconds)
    rejected = facts.get("rejected", 0)
    cards = (
        ("Frames", counts.frames, seconds + (", {} images rejected".format(rejected) if rejected else "")),
        ("Detections", counts.detections, "{:.1f} in a frame".format(counts.detections / float(max(counts.frames, 1)))),
        ("Tracks", counts.tracks, "confirmed ones, each counted once"),
        ("Alerts", counts.warnings + counts.errors, alerts + ", each counted when it was raised"),
    )
    shape = '<div class="card"><h2>{}</h2><div class="big">{}</div><p>{}</p></div>'
    return '<section class="cards">{}</section>'.format("".join(shape.format(*card) for card in cards))


def _video(name, plays):
    keys = "".join(_key(*entry) for entry in _BOXES + _ALERTS)
    legend = '<ul class="legend">{}</ul>'.format(keys)
    if not name:
        return "<h2>Video</h2><p>No video: this OpenCV can write none.</p>" + legend
    if not plays:
        text = '<h2>Video</h2><p><a href="{0}">{0}</a> plays in VLC and other players, but in no browser: this OpenCV '
        return (text + "lacks VP8, VP9 and H.264.</p>{1}").format(name, legend)
    text = '<h2>Video</h2><figure><video src="{}" controls muted preload="auto"></video><figcaption>{}</figcaption>'
    return text.format(name, legend) + "</figure>"


def _key(colour, kind, text):
    return '<li><i class="swatch {}" style="border-color: {}"></i>{}</li>'.format(kind, colour, html.escape(text))


def _table_of_classes(counts):
    rows = [(name, counts.by_class[name], counts.tracks_of(name)) for name in sorted(counts.by_class)]
    if not rows:
        return "<h2>Classes</h2><p>Nothing was detected.</p>"
    return "<h2>Classes</h2>" + _table(("class", "detections", "tracks"), rows)


def _pictures(pictures):
    if not pictures:
        return ""
    shape = '<figure><img src="{0}" alt="{1}"><figcaption>{1}</figcaption></figure>'
    return '<h2>Frames</h2><div class="frames">{}</div>'.format(
        "".join(shape.format(name, html.escape(why)) for name, why in pictures)
    )


def _table(head, rows):
    names = "".join('<th class="{}">{}</th>'.format("n" if i else "", html.escape(n)) for i, n in enumerate(head))
    lines = []
    for first, *rest in rows:
        cells = "".join('<td class="n">{}</td>'.format(html.escape(str(c))) for c in rest)
        lines.append('<tr><th scope="row">{}</th>{}</tr>'.format(html.escape(str(first)), cells))
    shape = '<div class="wide"><table class="narrow"><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    return shape.format(names, "".join(lines))


def _list(rows):
    items = ("<dt>{}</dt><dd>{}</dd>".format(html.escape(str(k)), html.escape(str(v))) for k, v in rows)
    return "<dl>{}</dl>".format("".join(items))


def _ms(value):
    return "{:.2f}".format(value)
