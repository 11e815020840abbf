"""Validation of configurations before anything is paid for: is each valid, and what does it cost?

    candidates -> judge -> verdicts          names, types, values, effect; data where it is in reach
                    └-> architecture         parameters and multiply-adds, from the model's graph

`python -m deepmac_ablate.sweep.validation` reads candidates and writes verdicts, so that planning
needs no TensorFlow in its own process: see `client`.
"""
