"""Verify a bundle on a host that has numpy alone: `python -m quietdial.agents.bundle FOLDER`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.load import load_bundle


def main() -> int:
    """Load a bundle, say what it is; exit code 2 and one line if it is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m quietdial.agents.bundle", description="Verify a bundle by all its rules."
    )
    parser.add_argument("bundle", type=Path, help="folder or archive")
    trust = parser.add_mutually_exclusive_group(required=True)
    trust.add_argument("--signers", type=Path, help="file of allowed signers, see ssh-keygen(1)")
    trust.add_argument("--unsigned", action="store_true", help="take it whoever made it")
    asked = parser.parse_args()
    try:
        bundle = load_bundle(asked.bundle, signers=asked.signers, unsigned=asked.unsigned)
    except BundleError as error:
        sys.stderr.write(f"refused: {error}\n")
        return 2
    replayed = 0 if bundle.golden is None else len(bundle.golden.inputs.obs)
    sys.stdout.write(
        f"good: {bundle.manifest['name']}, {bundle.contract['action']['kind']}, bundle "
        f"{bundle.bundle_id[:12]}, signed by {bundle.signer or 'nobody that was asked for'}, "
        f"{replayed} golden vectors replayed\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
