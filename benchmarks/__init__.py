"""What nas-sweep costs and what it gains, measured by commands that anyone can run."""
