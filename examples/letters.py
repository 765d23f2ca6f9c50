"""Train a letter recogniser from nothing, fit it into 10 KB, and let it read.

python examples/letters.py
"""

from packlight.letters import Bounds, make, render
from packlight.letters.making import read
from packlight.progress import Lines

bounds = Bounds(rotation=8)  # degrees: what your camera does, and no more
made = make("A-Z0-9", "10KB", bounds=bounds, out="letters-made", progress=Lines())
print(made)

images, labels = render(36, seed=7, bounds=bounds)  # uint8 (36, 1, 32, 32)
classes = read(made.fitted.model, images)
print("shown", "".join(made.charset[label] for label in labels))
print("read ", "".join(made.charset[index] for index in classes))
