"""A real server and many people at it, who know what every answer has to be."""
