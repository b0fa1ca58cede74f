"""Bundles: a policy or rule as a folder of plain files that a dialer can trust.

What reads a bundle (`load`, `evaluate`, `tree`, `strict`, `onnx_wire`, `tensors`, `archive`,
`signature`) needs numpy and the standard library only, and onnxruntime to run the graph; it imports
neither torch nor the simulator. What writes one (`write` and the modules it uses) may.
"""
