"""Data in which the right answer for every user is known: even users like even items, odd users odd ones."""

from pathlib import Path

from lucid.workspace import Workspace

USERS, ITEMS = 30, 20

NOTHING_LEFT = {"interactions": [{"field": "timestamp", "op": "lt", "value": "1900-01-01"}]}
"""Data filters with which a training finds no interactions: there is nothing wrong with them, but none is so old."""


def liked(user: int, item: int) -> bool:
    """Every user likes all items of the same parity but one, which differs from user to user."""
    return user % 2 == item % 2 and item // 2 != (user // 2) % (ITEMS // 2)


def withheld(user: int) -> int:
    """The item of the user's parity that is not in the data."""
    return 2 * ((user // 2) % (ITEMS // 2)) + user % 2


def write_checkerboard(folder: Path) -> list[Path]:
    """Write `entities.csv` and `interactions.csv`; items of one parity share the metadata value `colour`."""
    folder.mkdir(parents=True, exist_ok=True)
    entities = ["id,type,name,metadata,media_url"]
    entities += [f"u{user:02},user,User {user},," for user in range(USERS)]
    entities += [f'i{item:02},item,Item {item},"{{""colour"": ""{_colour(item)}""}}",' for item in range(ITEMS)]
    interactions = ["type,source_id,target_id,timestamp,metadata"]
    interactions += [
        f"likes,u{user:02},i{item:02},," for user in range(USERS) for item in range(ITEMS) if liked(user, item)
    ]
    files = [folder / "entities.csv", folder / "interactions.csv"]
    for file, lines in zip(files, (entities, interactions), strict=True):
        file.write_text("\n".join(lines) + "\n")
    return files


def train_checkerboard(workspace: Workspace, folder: Path, model_id: str = "board") -> Workspace:
    """Import the checkerboard into a workspace and train on it."""
    workspace.import_files(write_checkerboard(folder))
    workspace.train(model_id)
    return workspace


def _colour(item: int) -> str:
    return "white" if item % 2 else "black"
