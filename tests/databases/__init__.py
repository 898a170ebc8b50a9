"""What must hold on every engine, under load and through migrations."""
