"""A recorded flight through the code of the node, and a report of what it saw: `python -m vit_perception.replay`."""
