"""Throughput against silent rate over a sweep of caps, and what a percentage point costs."""
