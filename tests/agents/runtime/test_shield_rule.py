"""The runtime's whole-number test is the simulator's, for any counts."""

from hypothesis import given
from hypothesis import strategies as st

from quietdial.agents.runtime import shield as runtime
from quietdial.envs.pacing import shield as simulator

COUNTS = st.integers(0, 10**6)


@given(
    idle=st.integers(0, 500),
    silent=COUNTS,
    answered=COUNTS,
    cap=st.integers(1, 999_999),
    to_come=st.integers(0, 10**5),
)
def test_most_in_flight__is_the_same_rule(idle, silent, answered, cap, to_come):
    given_ = (idle, silent, answered, cap, to_come)
    assert runtime.most_in_flight(*given_) == simulator.most_in_flight(*given_)
    assert runtime.UNIT == simulator.UNIT
