"""Addresses as people write them."""

from pacsnode.net.doorway import Addresses


def address_text(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def addresses_text(addresses: Addresses) -> str:
    """HOST:PORT, with `tls HOST:PORT` after it, or instead of it, where TLS is served."""
    plain, tls = addresses
    texts = [address_text(*plain)] if plain is not None else []
    return " ".join([*texts, "tls", address_text(*tls)] if tls is not None else texts)
