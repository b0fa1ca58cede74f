"""VICIdial steered from outside: an adapter that writes the dial level under a lease.

`adapter` reads the dialer's tables, asks a policy, and writes `auto_dial_level`; `guard` is the SQL
that makes a dead adapter harmless; `tables` reads, `features` makes the observation `counters` of
what was read. Needs PyMySQL (extra `vicidial`) and numpy, no simulator. See docs/vicidial.md.
"""
