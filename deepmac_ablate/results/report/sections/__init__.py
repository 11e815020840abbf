"""Content of each section of the report, as plain values for the templates."""
