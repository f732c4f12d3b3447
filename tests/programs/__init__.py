"""What the tests of real programs share, and programs that the tests run."""
