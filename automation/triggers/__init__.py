"""From events to firings. The index picks the triggers that could care, a trigger's `feed` says whether it fires.

    event ─► index ─► EventTrigger: match ─► settle ─► debounce ─► cooldown ─► Firing
    time  ─► due   ─► EventTrigger, ScheduleTrigger                         ─► Firing

Triggers are pure: `feed(event, now)` and `due(now)` return firings, `deadline` says when `due` wants to be called.
They own no clock, task or file; the dispatcher does. `now` is in seconds on the dispatcher's clock.
"""
