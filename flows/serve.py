"""Serve all deployments from one process: what `lucid up` starts next to the Prefect server.

Every run is a process of its own, forked from one that has loaded all it needs (`lucid.flows.preloaded`): so it begins
at once. It runs this module first, and ends with this process, however that ends.
"""

import asyncio
import logging
import multiprocessing
import os
import sys
from multiprocessing import forkserver
from types import SimpleNamespace

from lucid.service.attached import RUNS_OF, be_ended_first, end_with, say_where_it_is

if __name__ == "__mp_main__":  # this is a run, or a Dask worker that one has started
    if "lucid.flows.preloaded" in sys.modules:  # a worker is forked by a server of its run's own, which ends with that
        end_with(sys.modules["lucid.flows.preloaded"].FORK_SERVER)
    be_ended_first()
    say_where_it_is()  # a run does since it was forked, a worker does not

from prefect import flow_engine
from prefect.client.orchestration import get_client
from prefect.runner import Runner

from lucid import logs
from lucid.flows.automations import HEARTBEAT_SECONDS, install
from lucid.flows.deployments import places, register
from lucid.flows.lost_runs import end_lost_runs, skip_missed_runs
from lucid.flows.patience import be_patient
from lucid.service import pulse
from lucid.settings import Settings, load_settings
from lucid.store.files import OTHERS, close_home

_POLL_SECONDS = 0.5
"""How often Prefect is asked for runs that are due."""


def main() -> None:
    """Register the deployments and run what is asked of them until stopped."""
    settings = load_settings()
    logs.take_over(settings.log_format)  # Prefect has set up its own by now
    os.umask(OTHERS)  # every run inherits it, as it does the niceness
    close_home(settings.home)
    os.nice(settings.flow_niceness)
    be_patient()
    fork_runs()
    logging.getLogger("prefect.runner.state_proposer").setLevel(logging.WARNING)  # it tells of all that wait, for ever
    asyncio.run(_serve(settings))


def fork_runs() -> None:
    """Start the fork server, and let Prefect fork runs from it where it would start a Python for each.

    A Python takes 2 s of a processor to start, and as long again to load what a training works with.
    """
    os.environ[RUNS_OF] = str(os.getpid())
    multiprocessing.set_forkserver_preload(["lucid.flows.preloaded"])
    forkserver.ensure_running()
    forking = multiprocessing.get_context("forkserver")
    in_place = SimpleNamespace(get_context=lambda _method: forking)
    flow_engine.multiprocessing = in_place  # type: ignore[assignment, attr-defined]  # Prefect asks it for "spawn"


async def _serve(settings: Settings) -> None:
    async with get_client() as client:
        runner = Runner(
            limit=await places(client, settings),
            query_seconds=_POLL_SECONDS,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            pause_on_shutdown=False,
        )
        await register(runner, client, settings)
        await install(client)
        if settings.prefect_api_url is None:  # on a foreign server, others may run them too
            await end_lost_runs(client)
            await skip_missed_runs(client)
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
