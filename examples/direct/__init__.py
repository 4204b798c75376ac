"""Two services that talk to each other with no broker between them."""
