"""`python -m writ_gateway.http`: MCP clients over streamable HTTP. `writ mcp http` starts it."""

from writ_bus import tasks
from writ_gateway.http.config import HttpGatewayConfig
from writ_gateway.http.http_server import MANY_CYCLES, McpListener
from writ_gateway.http.metrics import metrics
from writ_runtime.connect import connect_as, load_key
from writ_runtime.service import StopStep, run, running


async def main(config: HttpGatewayConfig) -> None:
    """Run one gateway; it keeps nothing."""
    key, measured = load_key(config), metrics()
    async with running("gateway", config, measured, gc_thresholds=MANY_CYCLES) as process:
        bus = await connect_as(config.gateway, config, key)
        process.needs(tasks.start(bus.wait_closed(), "bus closed"), "NATS ended the connection for good")
        gateway = McpListener(config, bus, measured)
        process.needs(gateway.serve(), "the task that serves HTTP ended")
        process.needs(gateway.follow(), "the task that follows principals ended")
        process.log.info("gateway.listening", url=gateway.url)
        steps = (StopStep("settle", gateway.stop, 10.0), StopStep("drain", lambda: bus.drain(5.0), 6.0))
        await process.serve_until_stopped(gateway.checks(), *steps)


if __name__ == "__main__":
    run("gateway", HttpGatewayConfig, main)
