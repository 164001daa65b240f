"""The bench: from a grid of cells to rows that can be trusted; a finished cell is never run twice."""
