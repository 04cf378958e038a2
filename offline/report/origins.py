"""Where a bundle comes from, for CARD.md: the models before it, whose data it was, what it saw of validation."""

from ..run.run import Run
from . import tables


def seen(run: Run, name: str) -> str:
    """How honest the set is."""
    leak, models = run.leaks()[name], " and ".join(dict.fromkeys(given(run).values()))
    unknown = f"; what {models} learnt from before was not compared" if models else ""
    if not leak["twins"]:
        return f", none of them or of their near-twins trained on{' in this run' if models else ''}{unknown}"
    told = ": **the figures flatter**" if flatters(leak) else ""
    near = f"{leak['twins']} of them have a near-twin among the training images"
    copies = f"{leak['copies']} of them were trained on, " if leak["copies"] else ""
    return f"; {copies}{near}{told}{unknown}"


def flatters(leak: dict) -> bool:
    """Whether many images of a validation set have a near-twin in training; leak: of `Run.leaks`."""
    return leak["twins"] > 0.05 * leak["images"]


def given(run: Run) -> dict[str, str]:
    """{"teacher" or "student": its name} of the models that were trained before this run."""
    return {role: run.identity[role]["file"] for role in ("teacher", "student") if run.identity.get(role)}


def before(run: Run) -> str:
    """The models that were given, and what is known of their training and of that before it."""
    if not run.origins:
        return ""
    models = ", ".join(f"{role} `{name}`" for role, name in given(run).items())
    known = ((o["name"], ", ".join(o["data"]) or "data that it does not name") for o in run.origins)
    lines = "".join(f"\n  - {name}: trained on {data}" for name, data in known)
    return f"\n- Started from {models}. What is known of their training, and of that before it:{lines}"


def attribution(run: Run) -> str:
    """Whose data it was trained on, and the models before it, and whose weights they started from."""
    parts = [run.attribution or "Source and licence of the training data: not stated."]
    for origin in run.origins:
        said = origin["attribution"] or "source and licence of its training data are not stated."
        parts.append(f"The model goes back to {origin['name']}: {'the same.' if said == run.attribution else said}")
    parts += filter(None, [tables.backbone(run)])
    return "\n## Data and attribution\n" + "\n\n".join(parts) + "\n"
