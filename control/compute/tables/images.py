"""Images, up to 2.35, and their metadata, up to 2.38. Whose an image is decides the image service's own policy."""

from control.compute.handlers import images
from control.compute.operation import Operation
from control.compute.schemas import images as s

ALL = "/images"
ONE = ALL + "/{image}"
METADATA = ONE + "/metadata"
LAST, LAST_OF_METADATA = 35, 38

OPERATIONS = (
    Operation("images.list", "GET", ALL, images.index, until=LAST, query=s.LIST, reply=("images", "images_links")),
    Operation(
        "images.detail",
        "GET",
        ALL + "/detail",
        images.detail,
        until=LAST,
        query=s.LIST,
        reply=("images", "images_links"),
    ),
    Operation("images.show", "GET", ONE, images.show, until=LAST, reply=("image",)),
    Operation("images.delete", "DELETE", ONE, images.delete, 204, until=LAST),
    Operation("image-metadata.list", "GET", METADATA, images.metadata, until=LAST_OF_METADATA, reply=("metadata",)),
    Operation(
        "image-metadata.create",
        "POST",
        METADATA,
        images.add_metadata,
        until=LAST_OF_METADATA,
        body=s.METADATA,
        reply=("metadata",),
    ),
    Operation(
        "image-metadata.replace",
        "PUT",
        METADATA,
        images.replace_metadata,
        until=LAST_OF_METADATA,
        body=s.METADATA,
        reply=("metadata",),
    ),
    Operation(
        "image-metadata.show",
        "GET",
        METADATA + "/{id}",
        images.metadata_item,
        until=LAST_OF_METADATA,
        reply=("meta",),
    ),
    Operation(
        "image-metadata.update",
        "PUT",
        METADATA + "/{id}",
        images.set_metadata_item,
        until=LAST_OF_METADATA,
        body=s.META,
        reply=("meta",),
    ),
    Operation(
        "image-metadata.delete",
        "DELETE",
        METADATA + "/{id}",
        images.delete_metadata_item,
        204,
        until=LAST_OF_METADATA,
    ),
)
