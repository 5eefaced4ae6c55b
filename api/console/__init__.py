"""The console: what people see and do in a browser, one module per screen."""
