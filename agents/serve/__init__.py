"""quietdial.agents.serve: the sidecar, a small server beside a dialer that says how many to call.

`python -m quietdial.agents.serve BUNDLE` (what `quietdial serve` starts) needs numpy and h11, and
nothing else but the standard library: no compiler, no simulator, no learning library.
"""
