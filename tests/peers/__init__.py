"""What others check a port with, on planted mistakes and right ports."""
