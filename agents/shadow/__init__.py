"""quietdial.agents.shadow: a policy beside the incumbent on recorded days, placing nothing."""
