"""The one training loop, its data, losses and teachers. Enter by `train.train`."""
