"""Tenants: users and directories of one mount that have automations of their own, apart from everybody else's.

forms        what the configuration says        tenant       one tenant: who, where, as whom, within which limits
owners       whose an event is                  forwarding   the mount's bus → each tenant's own
lane         one tenant's bus, and its limit    guarding     guards of all, each in its own territory
used         its quotas, kept              share        its part of the loop
hosting      a Service for each tenant          children     commands of all, for who caused what
"""
