"""Map the three top-level rooms onto the ``quietdial`` namespace (TOML cannot say this)."""

from setuptools import find_packages, setup

ROOMS = ("envs", "agents", "experiments")

setup(
    packages=[
        f"quietdial.{name}"
        for room in ROOMS
        for name in (room, *(f"{room}.{sub}" for sub in find_packages(room)))
    ],
    package_dir={f"quietdial.{room}": room for room in ROOMS},
)
