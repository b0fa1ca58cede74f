"""Learners: what trains a policy (needs the extra `train`)."""
