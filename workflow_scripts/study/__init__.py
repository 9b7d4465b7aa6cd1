"""The table of a scaling study, one row a point."""
