"""What happens when something breaks: real servers killed and frozen, real files locked."""
