"""Serve all deployments from one process: what `lucid up` starts next to the Prefect server.

Every run is a process of its own that imports this module first, and ends with this process, however that ends.
"""

import asyncio
import logging
import os

from lucid.service.attached import be_ended_first, end_with

_SERVER = "_LUCID_RUNS_OF"
"""Environment variable with the id of the process that serves the flows, for its runs."""

if __name__ == "__mp_main__" and _SERVER in os.environ:  # this is a run
    end_with(int(os.environ[_SERVER]))
    be_ended_first()

from prefect.client.orchestration import get_client  # noqa: E402 - a run attaches itself first
from prefect.runner import Runner  # noqa: E402

from lucid.flows.deployments import places, register  # noqa: E402
from lucid.flows.lost_runs import end_lost_runs  # noqa: E402
from lucid.service import pulse  # noqa: E402
from lucid.settings import Settings, load_settings  # noqa: E402
from lucid.store.files import OTHERS, close_home  # noqa: E402


def main() -> None:
    """Register the deployments and run what is asked of them until stopped."""
    settings = load_settings()
    os.umask(OTHERS)  # every run inherits it, as it does the niceness
    close_home(settings.home)
    os.nice(settings.flow_niceness)
    os.environ[_SERVER] = str(os.getpid())
    logging.getLogger("prefect.runner.state_proposer").setLevel(logging.WARNING)  # it tells of all that wait, for ever
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    async with get_client() as client:
        runner = Runner(limit=await places(client, settings), pause_on_shutdown=False)
        await register(runner, client, settings)
        if settings.prefect_api_url is None:  # on a foreign server, others may run them too
            await end_lost_runs(client)
    pulse.begin(settings.home)
    beating = asyncio.create_task(_beat(settings))
    try:
        await runner.start()
    finally:
        beating.cancel()


async def _beat(settings: Settings) -> None:
    """Show that this process lives, and not only that it is there."""
    while True:
        pulse.beat(settings.home)
        await asyncio.sleep(pulse.BEAT_SECONDS)


if __name__ == "__main__":
    main()
