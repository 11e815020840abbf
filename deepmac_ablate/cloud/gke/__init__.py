"""Jobs on Google Kubernetes Engine: manifests without a cluster, and the cluster's client."""
