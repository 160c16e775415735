"""Scripts that answer one written question each with the functional API."""
