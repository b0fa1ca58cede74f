"""Scenarios from calls: of recorded days (estimates, report, proof), or of talk times alone."""
