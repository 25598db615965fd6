"""Trains generative image models and exports them as versions that density-server serves."""
