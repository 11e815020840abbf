"""Clouds: devices, and jobs on Vertex AI and GKE.

This room knows nothing of sweeps, and imports neither XManager nor TensorFlow.
"""
