"""Races: native actors that use and take away a device at chosen instants."""
