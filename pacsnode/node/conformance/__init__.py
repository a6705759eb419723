"""The DICOM Conformance Statement (PS3.2) of the node as configured, written from the tables that
the program works by. A test asks a running node for all that it says."""

from datetime import date

from pacsnode.config.model import Configuration
from pacsnode.node.conformance import closing, opening
from pacsnode.node.conformance.acceptance import acceptance_policy
from pacsnode.node.conformance.document import Document, Section
from pacsnode.node.conformance.initiation import initiation_policy
from pacsnode.node.conformance.model import implementation_model
from pacsnode.node.conformance.policies import association_policies
from pacsnode.node.conformance.security import security_section

TITLE = "DICOM Conformance Statement"


def statement(configuration: Configuration, day: date) -> Document:
    """The whole of it, as of `day`."""
    return Document(
        TITLE,
        opening.cover(configuration, day),
        (
            opening.overview(configuration),
            opening.contents(),
            opening.introduction(),
            _networking(configuration),
            closing.media_interchange(),
            closing.character_sets(),
            security_section(configuration),
            closing.annexes(configuration),
        ),
    )


def _networking(configuration: Configuration) -> Section:
    entity = Section(
        configuration.ae_title,
        sections=(
            opening.sop_classes(),
            association_policies(configuration),
            initiation_policy(configuration),
            acceptance_policy(configuration),
        ),
    )
    return Section(
        "Networking",
        sections=(
            implementation_model(configuration),
            Section("AE Specifications", sections=(entity,)),
            closing.network_interfaces(configuration),
            closing.configuration_section(configuration),
        ),
    )
