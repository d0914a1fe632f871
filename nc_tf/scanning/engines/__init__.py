"""Where the arms of a scan run: in this process, or on a cluster."""
