"""The league table: every rule on every preset scenario at equal silent rate.

`entries` says who plays, `settings` how long, `jobs` plays one rule on one scenario, `queue` runs
many jobs and goes on where it was stopped, `table` and `picture` show what was found, `command` is
`quietdial league`.
"""
