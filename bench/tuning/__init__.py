"""Tuning: the strongest settings of the defence that an accuracy budget allows, found by attacking them."""
