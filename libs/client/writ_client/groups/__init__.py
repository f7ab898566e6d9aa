"""The operations of the catalogue as typed methods: `await writ.services.restart("web-1", "nginx")`."""
