"""The convolutional twin of a ViT detector: the same stem, neck, heads and MACs, and no attention.

The transformer must beat it: each block is replaced by two 3x3 convolutions with a residual around them. Where a
recipe says `mixer: twin` for the model or the student, the run trains the twin of what the other options describe:

    python -m offline.compress ... --set model.mixer=twin       # a convolutional teacher, and what is cut out of it
    python -m offline.compress ... --set student.mixer=twin     # a convolutional student of a ViT
    python -m offline.compress ... --set prune.twin=true        # what pruning cut out, its blocks exchanged
    python bench/attention.py --quick                           # both side by side
"""

from torch import nn

from ..boards.layers import layers_of_config, total_macs
from ..errors import RecipeError
from ..model.detector import ViTDetector, build_model
from ..model.pretrained import inherit

STEP = 16  # channels: kernels compute that many at a time, and an odd width would handicap the twin
TOLERANCE = 0.02  # of the MACs


def conv_twin(config: dict, width: int, height: int) -> dict:
    """The config of the convolutional detector with the MACs of ViTDetector(**config) at width x height pixels.

    Args:
        config: complete, or partial as for `build_model`; its pool and ranks shape the MACs to be matched.

    Raises:
        RecipeError: the blocks are so small that no width comes within TOLERANCE.
    """
    whole = build_model(config | {"mixer": "attention"}).config()
    wanted = total_macs(layers_of_config(whole, width, height))

    def twin(steps: int) -> dict:
        """With `steps` times STEP hidden channels in all, spread over the blocks."""
        depth = max(1, min(whole["depth"], steps))
        share, more = divmod(steps, depth)
        hidden = [STEP * (share + (i < more)) for i in range(depth)]
        plain = {"mixer": "conv", "depth": depth, "heads": [0] * depth, "mlp": hidden, "pool": None, "ranks": {}}
        return whole | plain

    one, two = (total_macs(layers_of_config(twin(n), width, height)) for n in (1, 2))
    found = twin(max(1, 1 + round((wanted - one) / (two - one))))
    macs = total_macs(layers_of_config(found, width, height))
    if abs(macs / wanted - 1) > TOLERANCE:
        raise RecipeError(
            f"no convolutional twin: the nearest has {macs / 1e9:.3f} GMAC, the model {wanted / 1e9:.3f}; its blocks "
            "are too small to be matched in steps of 16 channels"
        )
    return found


def twin_of(model: ViTDetector, width: int, height: int) -> ViTDetector:
    """The twin of a trained detector: its stem, neck and heads, and blocks that pass on what comes in until trained."""
    twin = build_model(conv_twin(model.config(), width, height))
    inherit(twin, model)
    for block in twin.blocks:
        last = block.body[-1][-1]  # the batch norm before the sum
        nn.init.zeros_(last.weight)
    return twin


def with_twin(options: dict, width: int, height: int) -> dict:
    """Model options of a recipe, `mixer: twin` replaced by the twin that is meant."""
    return conv_twin(options, width, height) if options.get("mixer") == "twin" else options
