"""Open, prove, run and close a bundle's TensorRT engines on the stand-ins, and tell what happened as one JSON line.

python test/standin/run_engines.py BUNDLE CACHE PRECISION ...      in the environment of standin_environment()
"""

import ctypes
import json
import os
import sys

import numpy as np

from vit_perception.bundles.bundle import open_bundle
from vit_perception.engines import open_engine

FRAMES = 3


def run(bundle, cache, precision):
    """Figures of one engine: its proof, the memory it takes, and whether frame after frame it gives the same."""
    cuda = ctypes.CDLL(os.environ["VIT_PERCEPTION_CUDART"])
    engine = open_engine(bundle, "tensorrt", precision, cache=cache)
    before = cuda.standin_allocation_calls()
    with np.load(bundle.file("golden")) as golden:
        image = golden["images"][:1].astype(np.float32)
    frames = [{name: values.copy() for name, values in engine.infer(image).items()} for _ in range(FRAMES)]
    figures = {
        "device": engine.device,
        "precision": engine.precision,
        "proof": engine.proof,
        "outputs": {name: list(values.shape) for name, values in frames[0].items()},
        "steady": all(np.array_equal(frame[name], frames[0][name]) for frame in frames for name in frame),
        "live": cuda.standin_live_allocations(),
        "allocations_by_frames": cuda.standin_allocation_calls() - before,
    }
    engine.close()
    engine.close()
    figures["live_after_close"] = cuda.standin_live_allocations() + cuda.standin_live_streams()
    return figures


def main(folder, cache, *precisions):
    bundle = open_bundle(folder)
    print(json.dumps({precision: run(bundle, cache, precision) for precision in precisions}))


if __name__ == "__main__":
    main(*sys.argv[1:])
