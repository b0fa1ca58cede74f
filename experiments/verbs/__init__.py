"""The verbs of the `quietdial` command, by what they are for; `experiments/cli.py` lists them.

Every verb is a function (arguments) -> exit code. It imports what it needs when it runs, so that a
bare installation has the verbs that need no PyTorch.
"""
