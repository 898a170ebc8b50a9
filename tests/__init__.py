"""The suite: one file per module, and stories in the folders below."""
