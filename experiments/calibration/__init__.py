"""Calibration of a scenario to recorded days: estimates, the scenario, the report, the proof."""
