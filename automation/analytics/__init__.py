"""Analytics of event streams: from events to numbers over windows, and what is unusual or to be expected in them.

    event ─► extraction ─► stream: panes, sketches ─► rows ─► joins, correlations, further streams
                                                        └───► trends, anomalies, forecasts ─► findings

forms            what a definition says                    desk    the bus, the clock, the events that tell of findings
aggregates       `quantile(0.99, event.size)`              engine  the streams of all definitions, in their order
All but the desk is pure: `feed(events)` and `advance(now)` give rows and findings; time is nanoseconds.
"""
