"""`python -m quietdial.agents.serve BUNDLE ...`: the process that `quietdial serve` becomes."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence

EXIT_OK, EXIT_USAGE = 0, 2


def main(args: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code."""
    try:
        from quietdial.agents.bundle.errors import BundleError
        from quietdial.agents.ledger.errors import LedgerError
        from quietdial.agents.serve.errors import ServeError
        from quietdial.agents.serve.server import Server
        from quietdial.agents.serve.settings import settings_of
    except ModuleNotFoundError as error:
        if error.name not in ("h11", "numpy"):
            raise
        return _fail(f"{error.name} is missing; install it with: pip install 'quietdial[serve]'")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )

    async def run() -> None:
        await Server(settings_of(sys.argv[1:] if args is None else args)).run()

    try:
        asyncio.run(run())
    except (ServeError, BundleError, LedgerError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot listen: {error.strerror or error}")
    return EXIT_OK


def _fail(message: str) -> int:
    line = " ".join(message.split())
    sys.stderr.write(f"quietdial: error: {line}\n")
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
