"""Figures: pure functions from results to Plotly figures (as plain dictionaries) and sentences."""
