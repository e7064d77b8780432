"""Addresses of things, as answers name them: below the mount, without scheme and host."""


def provider(mount: str, uuid: str) -> str:
    return f"{mount}/resource_providers/{uuid}"


def inventory(mount: str, uuid: str, name: str) -> str:
    return f"{provider(mount, uuid)}/inventories/{name}"


def resource_class(mount: str, name: str) -> str:
    return f"{mount}/resource_classes/{name}"


def trait(mount: str, name: str) -> str:
    return f"{mount}/traits/{name}"
