"""quietdial.agents: pacing policies, hand-built rules and learned ones, and their export."""

if __name__ != "quietdial.agents":
    raise ImportError("import this package as 'quietdial.agents', not as 'agents'")
