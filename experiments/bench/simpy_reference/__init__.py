"""The parts of the SimPy reference model, one file for each concern; see `simpy_twin`.

Written from `docs/mechanisms.md` for readability, independently of the compiled kernel: seconds as
floats, numpy's own random numbers, the quantile functions of the scenario's laws, and SimPy
processes that read like the text.
"""
