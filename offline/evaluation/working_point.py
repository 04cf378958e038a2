"""Figures of a detector at one score threshold: what it finds, what it misses, and how often it is wrong.

Detections are matched to labels greedily, best score first, within their class: each takes the free label that it
overlaps most, with an IoU of at least .5. One that takes none, and lies at least half in an ignore region, is neither
right nor wrong; any other is a false positive. This is COCO's matching at IoU .5, with ignore regions as its crowds, so
the figures here and AP50 agree; and since it goes best score first, one matching serves every threshold.
"""

import numpy as np

from vit_perception.boxes import iou
from vit_perception.detector import Detections

from ..data import Dataset, Sample

MATCH = 0.5  # least IoU of a detection with the label that it finds
FALSE_POSITIVES = 0.5  # per image: what `recall_at` allows, unless told
FALSE, IGNORED = -1, -2
LEAST = 1e-4  # score threshold


def over(result: Detections, score: float) -> Detections:
    """Those with at least this score."""
    keep = result.scores >= score
    return Detections(result.boxes[keep], result.scores[keep], result.classes[keep])


def match(sample: Sample, result: Detections) -> np.ndarray:
    """For each detection the index of the label that it finds, or FALSE, or IGNORED: int64 (n,)."""
    overlap = iou(result.boxes, sample.boxes) * (result.classes[:, None] == sample.classes[None])  # (n, labels)
    found = np.where(ignored(result.boxes, sample.ignore), IGNORED, FALSE).astype(np.int64)
    free = np.ones(len(sample.boxes), bool)
    for i in np.argsort(-result.scores, kind="stable"):
        _take(i, overlap, free, found)
    return found


def _take(i: int, overlap: np.ndarray, free: np.ndarray, found: np.ndarray) -> None:
    """Give detection `i` the free label that it overlaps most, if that is enough; changes `free` and `found`."""
    candidates = overlap[i] * free
    if len(candidates) and candidates.max() >= MATCH:
        found[i] = candidates.argmax()
        free[found[i]] = False


def ignored(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Whether at least half of each box (n, 4) lies in one of the regions (m, 4): bool (n,)."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    inside = np.prod(np.maximum(high - low, 0), axis=2)  # (n, m)
    area = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1e-9)
    return (inside >= 0.5 * area[:, None]).any(1)


def recall_at(data: Dataset, results: list[Detections], false_positives: float = FALSE_POSITIVES) -> dict:
    """Recall of each class where its detections give at most `false_positives` false ones per image, on average.

    Each class has a threshold of its own, the lowest that keeps within the limit: a point of the free-response curve
    (FROC; Bunch et al., 1978, doi 10.1117/12.955926).

    Args:
        results: one per image, at scores from low on: a detection that is not in it cannot be found.

    Returns:
        {"fp_per_image", "per_class": {label: {"recall", "score"}}}; score: that threshold. Both are None for a class
        without boxes, and the score where nothing keeps within the limit.
    """
    found = _matches(data, results)
    scores, classes = (np.concatenate([getattr(r, k) for r in results]) for k in ("scores", "classes"))
    per_class = {}
    for c, (label, boxes) in enumerate(zip(data.labels, data.counts(), strict=True)):
        mine = (classes == c) & (found != IGNORED)
        at, hits = _lowest(scores[mine], found[mine] >= 0, false_positives * len(data))
        score = None if at is None or not boxes else round(at, 4)
        per_class[label] = {"recall": _share(hits, int(boxes)), "score": score}
    return {"fp_per_image": false_positives, "per_class": per_class}


def score_at(data: Dataset, results: list[Detections], false_positives: float) -> float:
    """The lowest score threshold with at most `false_positives` per image, all classes together; never under LEAST.

    Args:
        results: as for `recall_at`.
    """
    found = _matches(data, results)
    scores, counted = np.concatenate([r.scores for r in results]), found != IGNORED
    at, _ = _lowest(scores[counted], found[counted] >= 0, false_positives * len(data))
    if at is None:  # even the surest detection is one false positive too many
        at = float(scores[counted].max(initial=LEAST)) + LEAST
    return float(min(max(np.ceil(at * 1e4) / 1e4, LEAST), 1 - LEAST))


def _matches(data: Dataset, results: list[Detections]) -> np.ndarray:
    """What `match` returns, of all images in a row."""
    return np.concatenate([match(s, r) for s, r in zip(data.samples, results, strict=True)])


def _lowest(scores: np.ndarray, right: np.ndarray, allowed: float) -> tuple[float | None, int]:
    """(lowest threshold that lets at most `allowed` wrong ones pass, right ones that pass with them); None: there is no
    such threshold among the scores."""
    order = np.argsort(-scores, kind="stable")
    score, right = scores[order], right[order]
    last = np.append(score[:-1] != score[1:], True)[: len(score)]  # equal scores pass a threshold together
    fits = np.flatnonzero(last & (np.cumsum(~right) <= allowed))
    return (float(score[fits[-1]]), int(right[: fits[-1] + 1].sum())) if len(fits) else (None, 0)


def confusion(data: Dataset, results: list[Detections], score: float) -> np.ndarray:
    """Counts of what was taken for what at threshold `score`: int64 (K + 1, K + 1), the last one background.

    Rows are what is there, columns what the detector says. What finds a label of its own class is on the diagonal; a
    false positive that overlaps a label which nothing found (IoU at least .5) took it for another class; the rest are
    background taken for something (last row) and labels taken for background (last column).
    """
    background = len(data.labels)
    counts = np.zeros((background + 1, background + 1), np.int64)
    for sample, result in zip(data.samples, (over(r, score) for r in results), strict=True):
        found = match(sample, result)
        free = np.ones(len(sample.boxes), bool)
        free[found[found >= 0]] = False
        wrong = np.flatnonzero(found == FALSE)
        overlap = iou(result.boxes, sample.boxes)
        for i in wrong[np.argsort(-result.scores[wrong], kind="stable")]:
            _take(i, overlap, free, found)
        counted = found != IGNORED
        there = np.append(sample.classes, background)[found[counted]]  # FALSE is -1: the last one
        np.add.at(counts, (there, result.classes[counted]), 1)
        counts[:, background] += np.bincount(sample.classes[free], minlength=background + 1)
    return counts


def working_point(counts: np.ndarray, labels: list[str], images: int) -> dict:
    """Figures of a confusion matrix: {"per_class": {label: figures}, "all": figures}.

    precision: right of all that were said to be of the class. recall: right of all that are. fp_per_image: those said
    to be of the class that are not. `all` sums over the classes. None where there is nothing to take a share of.
    """
    right, said, there = np.diag(counts)[:-1], counts[:, :-1].sum(0), counts[:-1].sum(1)

    def figures(tp: int, p: int, n: int) -> dict:
        return {"precision": _share(tp, p), "recall": _share(tp, n), "fp_per_image": round((p - tp) / images, 4)}

    rows = np.stack([right, said, there], 1).tolist()
    return {
        "per_class": {label: figures(*row) for label, row in zip(labels, rows, strict=True)},
        "all": figures(*(sum(column) for column in zip(*rows, strict=True))),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
