"""One file per row of the tables. `measure(contestant, …)` runs beside the contestant and returns numbers by name."""
