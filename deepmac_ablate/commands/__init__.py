"""The verbs of the command line, a module each: parse, call, print."""
