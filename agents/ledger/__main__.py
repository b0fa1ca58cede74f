"""`python -m quietdial.agents.ledger LEDGER KEY`: a writer that other programs talk to by lines.

Each line on standard input is a batch, {"batch": 7, "events": [{"what": "dialed" | "ended" |
"decided", ...fields of the event}]}. Each is answered by one line when it is on the disk,
{"batch": 7, "new": 2}, or refused as a whole, {"batch": 7, "error": "..."}. The campaigns' terms
must have been agreed on before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from quietdial.agents.ledger.book import Event, Ledger
from quietdial.agents.ledger.errors import LedgerError
from quietdial.agents.ledger.events import Decided, Dialed, Ended
from quietdial.agents.ledger.persons import read_key

_KINDS: Final[Mapping[str, type[Dialed] | type[Ended] | type[Decided]]] = {
    "dialed": Dialed,
    "ended": Ended,
    "decided": Decided,
}


def event_of(plain: dict[str, Any]) -> Event:
    """The event that a line says; `LedgerError` if it says none."""
    fields = {name: value for name, value in plain.items() if name != "what"}
    kind = _KINDS.get(str(plain.get("what")))
    if kind is None:
        raise LedgerError(f"what = {plain.get('what')!r}: use one of " + ", ".join(_KINDS))
    try:
        return kind(**fields)
    except TypeError as error:
        raise LedgerError(f"event {plain['what']!r}: {error}") from None


def answer(ledger: Ledger, line: str) -> dict[str, Any]:
    """Record the batch of one line; what is answered."""
    batch = None
    try:
        plain = json.loads(line)
        batch = plain["batch"]
        return {"batch": batch, "new": ledger.record([event_of(e) for e in plain["events"]])}
    except LedgerError as error:
        return {"batch": batch, "error": str(error)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return {"batch": batch, "error": f"not a batch: {type(error).__name__}"}


def main(arguments: list[str]) -> int:
    """Answer lines until the input ends."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m quietdial.agents.ledger LEDGER KEY\n")
        return 2
    try:
        with Ledger(Path(arguments[0]), read_key(Path(arguments[1]))) as ledger:
            sys.stdout.write(json.dumps({"ready": sorted(ledger.campaigns)}) + "\n")
            sys.stdout.flush()
            for line in sys.stdin:
                sys.stdout.write(json.dumps(answer(ledger, line)) + "\n")
                sys.stdout.flush()
    except LedgerError as error:
        sys.stderr.write(f"quietdial: error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
