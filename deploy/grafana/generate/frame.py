"""The common frame of all dashboards: a few kinds of panels, one data source, and links from each page to the others.

The expression of a panel is PromQL. It uses nothing else than Grafana's `$__rate_interval` and the variables of its
page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row, ThresholdsConfig
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    LegendDisplayMode,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="writ-prometheus")
"""The uid of the data source in deploy/grafana/provisioning. Give it to the data source of a Prometheus of your own."""
TAG = "writ"
WIDTH = 24
GOOD, WARNING, BAD = "green", "orange", "red"
QUANTILES = {"half": 0.5, "95 %": 0.95, "99 %": 0.99}
Panel = stat.Panel | timeseries.Panel | statetimeline.Panel | table.Panel
Rows = Mapping[str, Sequence[Any]]


def page(name: str, title: str, text: str, rows: Rows, *variables: Any) -> str:
    """Return the JSON of one dashboard, whose uid is `writ-<name>`. `rows`: the panels of each row, by its title."""
    made = (
        Dashboard(f"Writ: {title}")
        .uid(f"writ-{name}")
        .description(text)
        .tags([TAG])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .link(DashboardLink("Writ").type(DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True))
    )
    for variable in variables:
        made = made.with_variable(variable)
    for row, panels in rows.items():
        made = made.with_row(Row(row))
        for panel in panels:
            made = made.with_panel(panel)
    built = made.build()
    for number_of, panel in enumerate(built.panels or (), 1):
        panel.id_val = number_of  # else Grafana gives out its own, and a link to one panel would not last
    return JSONEncoder(sort_keys=True, indent=1).encode(built) + "\n"


def query(expression: str, legend: str = "", *, exemplars: bool = False) -> prometheus.Dataquery:
    """Return one query over the time range of the page."""
    made = prometheus.Dataquery().ref_id("A").expr(expression).legend_format(legend or "__auto").range()
    made = made.datasource(SOURCE)
    return made.exemplar(True) if exemplars else made


def rate(counter: str) -> str:
    """Return the rate of a counter whose series begin with their first event: `rate` alone would not see that one. A
    series that the same target did not have a window ago, when it was read, began at 0. `counter`: with its selector.
    """
    before = "up offset $__rate_interval"
    new = f"(({counter} unless {counter} offset $__rate_interval) and on (job, instance) ({before} == 1))"
    begun = f"{new} / on (job, instance) group_left () (timestamp(up) - timestamp({before}))"
    return f"({begun} or rate({counter}[$__rate_interval]))"


def number(title: str, expression: str, unit: str = "short", *, text: str, steps: Mapping[float, str]) -> stat.Panel:
    """Return a panel with one present value. `steps`: the value from which each colour holds, without the first colour,
    which has no lower bound.
    """
    bounds = [Threshold(value, colour) for value, colour in steps.items()]
    bounds[0].value = None
    return (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .span(3)
        .height(4)
        .graph_mode(BigValueGraphMode.AREA)
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(bounds))
        .with_target(query(expression))
    )


def lines(
    title: str, *queries: prometheus.Dataquery, unit: str = "short", text: str = "", width: int = WIDTH // 2
) -> timeseries.Panel:
    """Return a panel with lines over time."""
    made = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(8)
        .fill_opacity(8)
        .legend(common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    for number_of, one in enumerate(queries):
        made = made.with_target(one.ref_id(chr(ord("A") + number_of)))
    return made


def took(
    title: str, histogram: str, *, by: str = "", where: str = "", text: str = "", width: int = WIDTH // 2
) -> timeseries.Panel:
    """Return a panel of durations, with example operations (exemplars). It shows quantiles, or the 95th percentile of
    each `by`.
    """
    rates = f"sum by ({', '.join(['le', by] if by else ['le'])}) (rate({histogram}_bucket{where}[$__rate_interval]))"
    wanted = {f"{{{{{by}}}}}": 0.95} if by else QUANTILES
    queries = [
        query(f"histogram_quantile({quantile:g}, {rates})", legend, exemplars=at == 0)
        for at, (legend, quantile) in enumerate(wanted.items())
    ]
    return lines(title, *queries, unit="s", text=text, width=width)


def states(title: str, expression: str, legend: str, *, text: str, width: int = WIDTH) -> statetimeline.Panel:
    """Return a panel that shows over time when something was well: its series are 1 and 0."""
    shown = {"0": ValueMappingResult(text="look", color=BAD), "1": ValueMappingResult(text="ok", color=GOOD)}
    return (
        statetimeline.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .mappings([ValueMap(options=shown)])
        .span(width)
        .height(8)
        .with_target(query(expression, legend))
    )


def rows_of(title: str, expression: str, *, text: str, width: int = WIDTH // 2) -> table.Panel:
    """Return a table of present values, with a row for each series."""
    asked = prometheus.Dataquery().ref_id("A").expr(expression).instant().datasource(SOURCE)
    made = table.Panel().title(title).description(text).datasource(SOURCE).span(width).height(8)
    return made.with_target(asked.format(PromQueryFormat.TABLE))
