"""Engines that run the restarts of a scan: in this process, or on a cluster."""
