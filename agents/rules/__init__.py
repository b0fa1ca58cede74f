"""Every pacing rule in use today, one file for each family, as policies like the learned ones."""

from quietdial.agents.rules.base import ControllerRule
from quietdial.agents.rules.genesys import Genesys
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.rules.simple import Blend, FixedRatio, Progressive
from quietdial.agents.rules.vicidial import OSDial, RatioManager, VICIdial, with_drop_timer

__all__ = [
    "Blend",
    "ControllerRule",
    "FixedRatio",
    "Genesys",
    "Marginal",
    "OSDial",
    "Progressive",
    "RatioManager",
    "VICIdial",
    "with_drop_timer",
]
