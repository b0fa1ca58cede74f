"""Every pacing rule in use today, one file for each family, as policies like the learned ones."""

from quietdial.agents.rules.base import ControllerRule
from quietdial.agents.rules.genesys import Genesys
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.rules.simple import Blend, FixedRatio, Progressive

__all__ = [
    "Blend",
    "ControllerRule",
    "FixedRatio",
    "Genesys",
    "Marginal",
    "Progressive",
]
