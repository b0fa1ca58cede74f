"""Controllers: pacing rules that run inside the kernel's time loop, at their own period.

One file for each family. Every controller is listed in `plug.MODULES`; a World takes it by name.
"""
