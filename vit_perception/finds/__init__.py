"""Finds: where on the map the people are that a flight saw, each once, with how sure that is. No ROS.

Enter by `search.Search`. Map coordinates are ENU metres about the first position (`wgs84.LocalFrame`), stamps
are seconds.
"""
