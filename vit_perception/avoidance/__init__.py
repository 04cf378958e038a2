"""Tracks to obstacles, alerts and the scan: geometry, range, time to contact, corridor, memory. Knows no ROS.

The order of a frame: `obstacles.ObstacleEstimator`, `memory.Memory`, `corridor.Corridor`, `alerts.AlertPolicy`,
`scan.make_scan`; `vit_perception.pipeline` calls them.
"""
