"""Recorded flights: rosbag2 bags, folders of images and videos. Enter by `bag.open_bag` and `sources`."""
