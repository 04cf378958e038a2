"""The detector and its parts, and how weights get into it. Enter by `detector.build_model`."""
