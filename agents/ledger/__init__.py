"""The compliance ledger: every decision, call outcome and window count, safe against any crash.

Standard library only. `book.Ledger` writes (one process at a time) and tells the counts of the
windows, who may be called and what is left of the budget; `reading` checks a ledger and makes the
statistics that are kept for the regulator. See docs/ledger.md.
"""

from quietdial.agents.ledger.book import Ledger, Purged
from quietdial.agents.ledger.campaign_book import CampaignBook
from quietdial.agents.ledger.errors import LedgerError
from quietdial.agents.ledger.events import Decided, Dialed, Ended
from quietdial.agents.ledger.persons import make_key, person_of, read_key
from quietdial.agents.ledger.questions import Permission, WindowCounts
from quietdial.agents.ledger.terms import Retention, Terms, WindowTerm, terms_of

__all__ = [
    "CampaignBook",
    "Decided",
    "Dialed",
    "Ended",
    "Ledger",
    "LedgerError",
    "Permission",
    "Purged",
    "Retention",
    "Terms",
    "WindowCounts",
    "WindowTerm",
    "make_key",
    "person_of",
    "read_key",
    "terms_of",
]
