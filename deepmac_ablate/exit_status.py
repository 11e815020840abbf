"""What the exit statuses of `deepmac-ablate` mean."""

FINISHED = 0
FAILED = 1
USER_ERROR = 2
DIVERGED = 3
# sysexits.h calls it "service unavailable": another supervisor has the trial, or its folder is out
# of reach.
TAKEN = 69
# sysexits.h calls it "try again": asked to end, it left a checkpoint.
INTERRUPTED = 75
