"""Models that learn from how runs end, or from what people say of them; and values that are moved by outcomes.

    workflow.succeeded, workflow.failed ─► desk ─► learner ─► versions ─► store
    RUN yes|no in /.vexfs/models/NAME/approve ─►┘     └─► the action `predict` ─► prediction.made

forms      what definitions of the kinds `model` and `adaptive` say     store    versions and changes on disk
learner    examples in, probabilities out (river)                       desk     the bus, the clock, threads
tuning     a retry's backoff, an anomaly's sensitivity, within bounds

A model never acts: it answers where a workflow names it. A value is moved only where an `adaptive` names it.
"""
