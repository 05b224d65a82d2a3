"""What people use today to check a port, applied to the catalogue of planted mistakes: a file for each idea.

`registry.METHODS` lists them. Each is a function of a `Prepared` pair that returns the first `Difference`, or `None`
where the check passes. All are helped by this project: it matches the weights and gives the reference's to the port.
"""
