"""quietdial.experiments.bench: speed, measured against reference models of the same world."""
