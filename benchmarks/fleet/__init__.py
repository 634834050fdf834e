"""A fleet of simulated devices with the real client, the repository that they ask, and the server between them."""
