"""Orbweaver: from satellite archives to a geospatial foundation model and a report."""
