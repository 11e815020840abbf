"""What is asked of a cloud: devices, what they cost, and jobs on Vertex AI and GKE.

Nothing here knows what a sweep is, and nothing imports XManager or TensorFlow.
"""
