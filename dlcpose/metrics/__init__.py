"""Figures computed from predictions and labels."""
