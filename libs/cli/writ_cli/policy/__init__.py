"""`writ policy`: show, test, explain and change policies. Only this package of the command imports the rules."""
