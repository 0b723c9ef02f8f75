"""What can be trained and evaluated, one folder a method."""
