"""Trials as jobs on Vertex AI and GKE: requests, follow-up, costs, and the worker inside."""
