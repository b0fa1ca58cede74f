"""The statistics of judge, league and comparison; every figure has a 95 % interval.

`intervals`: of means, ratios and shares. `days`: what a policy did on the judged days. `stopping`:
when enough days are played. `across_seeds`: several training seeds on the same days.
"""

from quietdial.experiments.stats.across_seeds import (
    Strata,
    bootstrap,
    crossed_interval,
    crossed_ratio,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    profile_band,
    seeds_and_days,
)
from quietdial.experiments.stats.days import (
    DAY_TOTALS,
    Difference,
    PolicyDays,
    PolicySummary,
    WorstHour,
    compare,
    equal_rate_difference,
    exchange_rate,
    p_value_above,
    summarise,
    utilisation_at,
    worst_hour,
)
from quietdial.experiments.stats.intervals import (
    CONFIDENCE,
    FloatArray,
    Interval,
    clopper_pearson,
    holm,
    mean_interval,
    paired_difference,
    ratio_difference,
    ratio_interval,
    t_quantile,
    wilson,
)
from quietdial.experiments.stats.stopping import Stopping

__all__ = [
    "CONFIDENCE",
    "DAY_TOTALS",
    "Difference",
    "FloatArray",
    "Interval",
    "PolicyDays",
    "PolicySummary",
    "Stopping",
    "Strata",
    "WorstHour",
    "bootstrap",
    "clopper_pearson",
    "compare",
    "crossed_interval",
    "crossed_ratio",
    "equal_rate_difference",
    "exchange_rate",
    "holm",
    "interquartile_mean",
    "mean_interval",
    "p_value_above",
    "paired_difference",
    "performance_profile",
    "probability_of_improvement",
    "profile_band",
    "ratio_difference",
    "ratio_interval",
    "seeds_and_days",
    "summarise",
    "t_quantile",
    "utilisation_at",
    "wilson",
    "worst_hour",
]
