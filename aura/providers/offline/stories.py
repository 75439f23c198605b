"""Stories and jokes, written for AURA."""

from __future__ import annotations

_STORIES = """
Here is a story about a lighthouse. On a small island there lived a keeper named Ines, who had not spoken with anybody
for a whole winter. One night the lamp went out in a storm, and far away she heard a ship's horn. She had no spare
bulb, so she carried her piano to the balcony and began to play. The captain steered away from the music and past the
rocks. In spring he came back with a box of new bulbs, and asked her to keep the piano where it was. Since then, ships
find their way to that island with their eyes closed.

This one is about a clock. In a quiet town the clock on the square was always seven minutes late, and nobody had ever
repaired it. Children came seven minutes late to school, and the baker opened seven minutes late. One day a stranger
set it right as a kindness. That evening everybody missed the sunset, for they had always been on the bridge at just
that moment. The next morning the baker climbed up the tower and turned the hands back. There are things, she said,
that one should not be on time for.

Let me tell you about a fox and a snowman. The fox came by every night to steal the carrot that was the snowman's
nose, and every morning the children put in a new one. After a week the snowman said, you could just ask me. The fox
was ashamed and brought him a pine cone instead. From then on they talked until dawn, about stars and rabbits. When
the sun grew warm, the fox carried a little of the snow up to the mountain, night after night. And there, in the shade
of a rock, the snowman is still telling him stories.

Here is one about a robot gardener. It had been built to pull out weeds, and it was very good at that. One morning it
found a tiny plant that was not on any list. It asked the owner, but she was asleep. It asked the manual, but the page
was missing. So it waited, and watered the plant, which was also in no list. Weeks later a sunflower stood there,
taller than the robot. The owner came out and asked who had planted it. Nobody, said the robot. I only forgot to be
sure.

This is the story of two rivers. The northern one was fast and loud, and it laughed at the southern one, which went
around every hill. You will never get anywhere, it called. The slow river carried leaves, boats and sleeping ducks,
and took its time. When they met at the sea at last, the fast river said, I was here long ago. And what did you see on
the way, the other one asked. The fast river thought about it for a long time. Then it said, would you tell me?
"""

_JOKES = """
Why did the microphone go to school? It wanted to be a better listener.
I told my clock a joke yesterday. It took a minute, but then it got it.
What does a cloud wear under its coat? Thunderwear.
Why do programmers mix up Halloween and Christmas? Because OCT 31 is DEC 25.
My dog learned to do arithmetic. I asked him what two minus two is, and he said nothing.
Why was the computer cold? Somebody had left a window open.
"""

STORIES: tuple[str, ...] = tuple(" ".join(story.split()) for story in _STORIES.split("\n\n"))
JOKES: tuple[str, ...] = tuple(_JOKES.strip().splitlines())
