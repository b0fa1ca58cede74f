"""Every pacing rule in use today, one file for each family, as policies like the learned ones."""

from quietdial.agents.rules.amazon import Amazon
from quietdial.agents.rules.base import ControllerRule
from quietdial.agents.rules.feedback import MarginalBudget
from quietdial.agents.rules.genesys import Genesys
from quietdial.agents.rules.issabel import Issabel
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.rules.patents import (
    CallsInProgress,
    HazardWindow,
    OccupancyQuantile,
    PickUpSum,
    WeightedForecast,
)
from quietdial.agents.rules.preview import Preview
from quietdial.agents.rules.quantile import QuantileAge, QuantileBlind
from quietdial.agents.rules.shiwa45 import Shiwa45
from quietdial.agents.rules.simple import Blend, FixedRatio, Progressive
from quietdial.agents.rules.sinch import Sinch
from quietdial.agents.rules.uccx import Uccx
from quietdial.agents.rules.unicom import Dctr, Predict1, Predict1PI
from quietdial.agents.rules.vicidial import OSDial, RatioManager, VICIdial, with_drop_timer
from quietdial.agents.rules.webitel import Webitel

__all__ = [
    "Amazon",
    "Blend",
    "CallsInProgress",
    "ControllerRule",
    "Dctr",
    "FixedRatio",
    "Genesys",
    "HazardWindow",
    "Issabel",
    "Marginal",
    "MarginalBudget",
    "OSDial",
    "OccupancyQuantile",
    "PickUpSum",
    "Predict1",
    "Predict1PI",
    "Preview",
    "Progressive",
    "QuantileAge",
    "QuantileBlind",
    "RatioManager",
    "Shiwa45",
    "Sinch",
    "Uccx",
    "VICIdial",
    "Webitel",
    "WeightedForecast",
    "with_drop_timer",
]
