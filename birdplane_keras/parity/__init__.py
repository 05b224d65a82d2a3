"""The judge: rungs that compare two sides, and the verdict that they add up to.

The core (`checks`, `tolerances`, `noise`, `ladder`, `certificate`) sees NumPy arrays only. `capture` touches the
frameworks, and no module here knows either side.
"""
