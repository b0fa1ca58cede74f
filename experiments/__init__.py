"""quietdial.experiments: training runs, the judge, reports and the command line."""

if __name__ != "quietdial.experiments":
    raise ImportError("import this package as 'quietdial.experiments', not as 'experiments'")
