"""Studies: trainings with several seeds, judged, one recorded result each (`quietdial study`)."""
