"""How far the outputs of two engines are apart."""

import numpy as np


def compare_outputs(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Largest difference over all outputs, relative to the largest magnitude of that output in `a`."""
    return max(float(np.abs(a[k] - b[k]).max() / max(1e-6, np.abs(a[k]).max())) for k in a)
