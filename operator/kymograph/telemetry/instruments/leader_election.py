"""`leader_election_master_status`: which replica leads, under the name and label that Kubernetes' components use."""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="leader_election_master_status",
    description="Whether this replica holds the Lease: 1 if it leads, 0 if another does.",
    unit="",
    labels=("name",),
)
