"""Jobs on Vertex AI, as its `CustomJob`."""
