"""What answers which path: each route reads the request, calls one method and answers."""
