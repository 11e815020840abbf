"""What can be bound, what is bound, and in what two trials differ."""
