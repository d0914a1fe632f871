"""What norms and measurements say: outliers, verdict, and every reason for which a scan is inconclusive."""
