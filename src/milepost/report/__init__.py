"""Results for people to read: first the data of a table or figure, then its drawing."""
