"""Policy: when a track becomes an event that a person should know of."""

from appliance.events.policies import DEFAULT_POLICIES, policies_for
from appliance.events.policy import EventPolicy
from appliance.events.ulids import UlidFactory, random_ulids, seeded_ulids

__all__ = ["DEFAULT_POLICIES", "EventPolicy", "UlidFactory", "policies_for", "random_ulids", "seeded_ulids"]
