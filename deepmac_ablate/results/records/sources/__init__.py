"""Where results come from: workdirs, W&B's offline files, W&B's server; all give `Record`s."""
