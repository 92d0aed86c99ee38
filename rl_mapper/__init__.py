"""Memory mapping as a game: search and learned planners."""
