"""All screens of the console, as parts of the application."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from lucid.api.console import (
    attribution,
    data,
    experiments,
    explore,
    home,
    models,
    operations,
    placements,
    sign_in,
    training,
    versions,
)
from lucid.api.console.access import CONSOLE
from lucid.api.console.pages import STATIC


def open_console(app: FastAPI) -> None:
    """Let an application show the console."""
    app.mount(f"{CONSOLE}/static", StaticFiles(directory=STATIC), name="console files")
    app.include_router(sign_in.door)
    for screen in (
        sign_in,
        home,
        models,
        versions,
        training,
        explore,
        placements,
        experiments,
        attribution,
        data,
        operations,
    ):
        app.include_router(screen.router)
