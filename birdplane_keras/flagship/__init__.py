"""Where the two sides meet: the code behind `scripts/compare.py`. No other module imports both programs."""
