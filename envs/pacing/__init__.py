"""The pacing environment: one physics kernel, its observations, and the Gymnasium faces."""
