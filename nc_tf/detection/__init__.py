"""Detection: outliers among norms, further detectors, the verdict, and every reason for which a scan is inconclusive."""
