"""What a person looks at: tables in the terminal and pictures, drawn from the numbers of a report."""
