"""Recorded days of real dialers, and of our own simulations, read into one form.

`read_logs` reads our own records (Parquet), exported tables of VICIdial, and Asterisk's queue_log
and call detail records into `RecordedDays`: the columns of our own records, in which what a log
does not tell is missing and says why. The files are taken for hostile: sizes are bounded, nothing
is evaluated, and what cannot be read gives one line with the file and its line.
"""

from quietdial.envs.dialer_logs.days import FORMATS, LogFormat, RecordedDay, RecordedDays, Table
from quietdial.envs.dialer_logs.reader import is_log, read_logs

__all__ = ["FORMATS", "LogFormat", "RecordedDay", "RecordedDays", "Table", "is_log", "read_logs"]
