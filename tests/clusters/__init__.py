"""Clusters of databases on this machine, whose nodes die, freeze and come back under load."""
