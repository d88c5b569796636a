"""Where Django looks for the commands of an installed app."""
