"""quietdial.experiments.shadow: what a policy would have done on recorded days, and its worth."""
