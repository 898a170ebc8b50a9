"""Stories with two browsers, told through the pages."""
