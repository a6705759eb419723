"""Single values of the configuration."""

from pacsnode.config.model import Access


def test_networks_mapped_into_ipv6_are_those_of_ipv4() -> None:
    access = Access.model_validate({"networks": ["::ffff:10.1.0.0/112", "fd00::/8", "192.0.2.7"]})
    assert [str(network) for network in access.networks or ()] == [
        "10.1.0.0/16",
        "fd00::/8",
        "192.0.2.7/32",
    ]
