"""The whole service: real Prefect server, served flows, uvicorn, HTTP."""
