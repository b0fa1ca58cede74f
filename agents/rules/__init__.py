"""Every pacing rule in use today, one file for each family, as policies like the learned ones."""

from quietdial.agents.rules.base import ControllerRule
from quietdial.agents.rules.feedback import MarginalBudget
from quietdial.agents.rules.genesys import Genesys
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.rules.patents import (
    CallsInProgress,
    HazardWindow,
    OccupancyQuantile,
    PickUpSum,
    WeightedForecast,
)
from quietdial.agents.rules.preview import Preview
from quietdial.agents.rules.quantile import LookAheadRule, QuantileAge, QuantileBlind
from quietdial.agents.rules.simple import Blend, FixedRatio, Progressive
from quietdial.agents.rules.vicidial import OSDial, RatioManager, VICIdial, with_drop_timer

__all__ = [
    "Blend",
    "CallsInProgress",
    "ControllerRule",
    "FixedRatio",
    "Genesys",
    "HazardWindow",
    "LookAheadRule",
    "Marginal",
    "MarginalBudget",
    "OSDial",
    "OccupancyQuantile",
    "PickUpSum",
    "Preview",
    "Progressive",
    "QuantileAge",
    "QuantileBlind",
    "RatioManager",
    "VICIdial",
    "WeightedForecast",
    "with_drop_timer",
]
