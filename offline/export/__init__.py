"""From torch to files: the ONNX master, the contract it is held to, and torch2trt on a board."""
