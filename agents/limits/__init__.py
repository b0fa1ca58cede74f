"""Limits for worlds that are not Markov: a floor that is cheap to beat, a proven upper bound."""

from quietdial.agents.limits.blind import BlindFloor, blind_floor
from quietdial.agents.limits.bound import UtilisationBound, markov_bound, utilisation_bound

__all__ = ["BlindFloor", "UtilisationBound", "blind_floor", "markov_bound", "utilisation_bound"]
