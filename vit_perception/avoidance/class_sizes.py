"""How high the objects of each class are: what a range is told from."""

from ..errors import BundleError


def sizes_by_index(labels, names, heights, sigmas, of_bundle=None):
    """Class sizes -> {class index: (height, spread)}, metres; names in any case.

    Args:
        labels: of the bundle. names, heights, sigmas: as the parameters give them.
        of_bundle: `sizes` of the bundle's manifest, {name: [height, spread]}: they hold over the parameters.

    Raises:
        BundleError: of_bundle is not of that form.
    """
    sizes = {n.lower(): (h, s) for n, h, s in zip(names, heights, sigmas)}
    try:
        own = {n.lower(): (float(h), float(s)) for n, (h, s) in dict(of_bundle or {}).items()}
        if not all(0 < h < float("inf") and 0 <= s < float("inf") for h, s in own.values()):
            raise ValueError
    except (TypeError, ValueError, AttributeError):
        raise BundleError("sizes in bundle.json must be {class name: [height, spread]} in metres") from None
    sizes.update(own)
    return {i: sizes[label.lower()] for i, label in enumerate(labels) if label.lower() in sizes}
