"""quietdial.experiments.sidecar: the sidecar under load, faults and strangers, measured."""
