"""quietdial.experiments.proof: the simulator held to what is known exactly, part by part."""
