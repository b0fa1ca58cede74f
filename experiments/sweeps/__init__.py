"""Sweeps: many training runs over seeds, caps, scenarios and settings, here or on a Ray cluster."""
