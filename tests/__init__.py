"""The test suite; a package so that tests share code by name (`from tests.mounting import mounted`)."""
