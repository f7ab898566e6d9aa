"""Services through systemd: over D-Bus, or by its own command where there is no system bus."""
