"""A hunt without a list: drawn trainings, with a drawn change of state between two steps, stock and attached."""
