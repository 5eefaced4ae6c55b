"""The header that every answer has, whoever gives it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_SNIFFING = (b"x-content-type-options", b"nosniff")


class NoSniffing:
    """Tells browsers to take every answer for what it says it is: ids and names in it may look like a page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], NO_SNIFFING]
            await send(message)

        await self._app(scope, receive, sent)
