"""What the dashboard is made of: queries of Tokentrail's metrics, and panels that look alike.

Units: Grafana's packages/grafana-data/src/valueFormats/categories.ts.
"""  # noqa: INP001

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.builders import common, heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DataTransformerConfig, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_DEPLOYMENT: Final = 'namespace=~"$namespace", job=~"$job"'
_HEIGHT: Final = 7


# --- queries ---------------------------------------------------------------------------------------------------


def of(metric: str, labels: str = "") -> str:
    return f"tokentrail_{metric}{{{_DEPLOYMENT}{labels and ', '}{labels}}}"


def by(labels: str, expression: str) -> str:
    return f"sum by ({labels}) ({expression})"


def rate(counter: str, labels: str = "") -> str:
    return f"rate({of(counter, labels)}[$__rate_interval])"


def increase(counter: str, labels: str = "", over: str = "$__rate_interval") -> str:
    return f"increase({of(counter, labels)}[{over}])"


def verdicts(verdict: str) -> str:
    """How many there were, by rule."""
    return by("rule", increase("rule_verdicts_total", f'verdict="{verdict}"'))


def quantile(share: float, histogram: str) -> str:
    return f"histogram_quantile({share}, {by('le', rate(histogram + '_bucket'))})"


def of_process(metric: str) -> str:
    """A process_* metric, which other programs have too, of Tokentrail's processes."""
    everyones = f"process_{metric}{{{_DEPLOYMENT}}}"
    if metric.endswith("_total"):
        everyones = f"rate({everyones}[$__rate_interval])"
    return f"{everyones} and on (namespace, job, instance) {of('build_info')}"


# --- panels ----------------------------------------------------------------------------------------------------

Query = tuple[str, str]  # expression, legend


def _targets(queries: tuple[Query, ...]) -> list[Dataquery]:
    return [
        Dataquery().expr(expression).legend_format(legend).ref_id(letter).datasource(SOURCE)
        for letter, (expression, legend) in zip("ABCD", queries, strict=False)
    ]


def graph(title: str, unit: str, description: str, *queries: Query) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).description(description).unit(unit).datasource(SOURCE)
    for target in _targets(queries):
        panel.with_target(target)
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    return (
        panel.height(_HEIGHT)
        .span(8)
        .min(0)
        .fill_opacity(10)
        .legend(legend.show_legend(show_legend=True))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )


def bars(title: str, description: str, *queries: Query) -> timeseries.Panel:
    """What happened in each interval: for things too rare for a rate to mean much."""
    panel = graph(title, "short", description, *queries).draw_style(GraphDrawStyle.BARS)
    return panel.fill_opacity(60).stacking(common.StackingConfig().mode(StackingMode.NORMAL))


def number(title: str, unit: str, description: str, query: Query, *, red_from: float | None = None) -> stat.Panel:
    panel = stat.Panel().title(title).description(description).unit(unit).datasource(SOURCE)
    (target,) = _targets((query,))
    steps = [Threshold(value=None, color="green")]
    if red_from is not None:
        steps.append(Threshold(value=red_from, color="red"))
    return (
        panel.with_target(target)
        .height(4)
        .span(4)
        .color_mode(BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )


def heat(title: str, unit: str, description: str, histogram: str) -> heatmap.Panel:
    target = (
        Dataquery()
        .expr(f"sum by (le) ({increase(histogram + '_bucket')})")
        .format(PromQueryFormat.HEATMAP)
        .legend_format("{{le}}")
        .ref_id("A")
        .datasource(SOURCE)
    )
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(target)
        .height(_HEIGHT)
        .span(8)
        .calculate(calculate=False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(32))
    )


def totals(title: str, description: str, expression: str, columns: Sequence[str]) -> table.Panel:
    """A line for each combination of labels, summed over the dashboard's time range."""
    target = Dataquery().expr(expression).instant().format(PromQueryFormat.TABLE).ref_id("A").datasource(SOURCE)
    order = {name: position for position, name in enumerate([*columns, "Value"])}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": {"Value": "findings"}}
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit("short")
        .decimals(0)
        .with_target(target)
        .with_transformation(DataTransformerConfig(id_val="organize", options=organize))
        .height(_HEIGHT)
        .span(8)
    )
