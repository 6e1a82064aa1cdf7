"""The audio in an answer. The log of commands keeps what was said of a clip, never its bytes."""

import base64
import json
from collections.abc import Callable

ReadClip = Callable[[str, int], bytes | None]
"""Name of a clip and offset → a bounded part of its file; None where it is gone."""


def with_audio(payload: str, read_clip: ReadClip) -> str:
    """An answer as it is sent: where it tells of a clip, whether its file is still there, and the part that was asked for."""
    answer = json.loads(payload)
    clip = answer["result"] if answer["command"] == "clip" else None
    if not isinstance(clip, dict):
        return payload
    data = read_clip(clip["clip"], clip.get("offset", 0))
    if data is None:
        answer |= {"ok": False, "error": "unavailable", "text": "its clip is not kept any more", "result": None}
    elif "offset" in clip:
        clip["data"] = base64.b64encode(data).decode("ascii")
        clip["next_offset"] = after if (after := clip["offset"] + len(data)) < clip["bytes"] else None
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
