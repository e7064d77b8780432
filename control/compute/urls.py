"""Links in bodies: they use the URL that the client used."""

from attrs import field, frozen

Link = dict[str, str]


@frozen
class Urls:
    """`root` is scheme, host and mount point without a slash at the end; `project` is set when the URL named it."""

    root: str
    version: str = "v2.1"
    project: str | None = None
    _own: str = field(init=False)
    _bookmark: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        project = f"/{self.project}" if self.project else ""
        object.__setattr__(self, "_own", f"{self.root}/{self.version}{project}/")
        object.__setattr__(self, "_bookmark", f"{self.root}{project}/")

    def own(self, path: str) -> str:
        """The versioned URL of a path such as `servers/{id}`."""
        return self._own + path

    def bookmark(self, path: str) -> str:
        return self._bookmark + path

    def links(self, path: str) -> list[Link]:
        return [{"rel": "self", "href": self._own + path}, {"rel": "bookmark", "href": self._bookmark + path}]

    def bookmarks(self, path: str) -> list[Link]:
        return [{"rel": "bookmark", "href": self._bookmark + path}]
