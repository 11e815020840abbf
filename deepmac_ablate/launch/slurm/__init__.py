"""Trials as Slurm jobs: what to ask for, the batch script, and Slurm's own commands."""
