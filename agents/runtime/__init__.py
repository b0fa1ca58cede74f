"""quietdial.agents.runtime: the pacer, what runs an exported policy beside a real dialer.

It imports the standard library and numpy, nothing else (onnxruntime only when a bundle's network is
evaluated by it): no compiler, no simulator, no learning library.
"""
