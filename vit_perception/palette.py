"""What each colour means, in every picture, plot and page of the project. Only what threatens is red."""

THREATENS, WARNING = "#ff3c3c", "#ff9a94"  # what threatens, and an alert of level ERROR; one of level WARN
NOT_JUDGED, PASSES = "#ffa500", "#3cd250"
NO_TRACK = "#ebebeb"  # a detection that is no track (yet); labels by people are white, too
# What has no such meaning: classes, tracks, curves. None of them can be taken for the colours above.
SERIES = ("#4c9be8", "#b58cf0", "#2fc4cf", "#f07cc8", "#b59a6a", "#93a5c4")
ON_PAPER = ("#2563a8", "#7b5ea7", "#12858f", "#b34d8b", "#8a6f3e", "#5b6f94")  # the same, for lines on white

OF_THREAT = {True: THREATENS, None: NOT_JUDGED, False: PASSES}
OF_LEVEL = ("", WARNING, THREATENS)  # of alerts: OK, WARN, ERROR


def bgr(colour):
    """'#rrggbb' -> (blue, green, red), as OpenCV draws with."""
    return tuple(int(colour[i : i + 2], 16) for i in (5, 3, 1))


def rgba(colour, opacity=1.0):
    """'#rrggbb' -> (red, green, blue, opacity), each 0..1."""
    return tuple(int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)) + (opacity,)


def series(index):
    """The colour of class, track or curve number `index`."""
    return SERIES[int(index) % len(SERIES)]


def css():
    """The colours as variables of a style sheet."""
    names = {
        "threatens": THREATENS,
        "warning": WARNING,
        "not-judged": NOT_JUDGED,
        "passes": PASSES,
        "no-track": NO_TRACK,
    }
    names.update({"series-{}".format(i): colour for i, colour in enumerate(SERIES)})
    return ":root { " + " ".join("--{}: {};".format(*item) for item in names.items()) + " }"
