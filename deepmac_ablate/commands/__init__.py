"""Commands of the command line: each module declares options, calls and prints."""
