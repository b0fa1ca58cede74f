"""A simulated VICIdial floor behind tables in a real MariaDB: for tests, proofs, the demo."""
