"""Files of other programs: a reader and a writer for each format. Foreign units end here."""
