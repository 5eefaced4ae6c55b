"""What a home takes of the disk, by what it is for."""

from pydantic import BaseModel, Field


class VersionDisk(BaseModel):
    """A version of a model, finished or being made."""

    version: int
    bytes: int


class ModelDisk(BaseModel):
    """A model with all that lies in its folder."""

    model_id: str
    bytes: int
    versions: list[VersionDisk]


class DiskUse(BaseModel):
    """Bytes of all files of a home; of what is on disk twice by links, each counts."""

    batches: int = Field(description="Imported data, and what is being imported.")
    models: int = Field(description="Versions of models, and what is being made.")
    uploads: int = Field(description="Files that wait for their import.")
    catalog: int = Field(description="The catalog, and what writers leave beside it.")
    logs: int = Field(description="Logs of the parts of the service.")
    prefect: int = Field(description="What the Prefect server of `lucid up` stores.")
    other: int = Field(description="Everything else.")
    by_model: list[ModelDisk] = Field(description="The models, by name.")

    @property
    def by_kind(self) -> dict[str, int]:
        """Bytes by what they are for; together they are the home."""
        return self.model_dump(exclude={"by_model"})

    @property
    def total(self) -> int:
        return sum(self.by_kind.values())


def in_megabytes(size: int) -> str:
    """A number of bytes as people read it."""
    return f"{size / 1e6:,.1f} MB"
