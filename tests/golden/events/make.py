"""Golden bytes of an event file, from TensorBoard's own record writer and messages.

    python tests/golden/events/make.py

writes events.tfevents beside this file: the events of the test in host-train/src/training/events.rs.
Needs the package tensorboard.
"""

import pathlib

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

HERE = pathlib.Path(__file__).parent
LOSSES = {"disc": 0.25, "fovea": 0.0}
IDRID = {"disc_dice/interval/0": 0.25, "disc_dice/interval/1": 0.75, "disc_dice/mean": 0.5, "n": 4}


def scalars(prefix, values):
    """In the order of the names, which is how the log's objects are kept."""
    return Summary(value=[Summary.Value(tag=f"{prefix}/{tag}", simple_value=value)
                          for tag, value in sorted(values.items())])


def main():
    step = {f"losses/{task}": loss for task, loss in LOSSES.items()}
    step |= {"epoch": 2, "lr": 1e-4, "seconds_per_step": 1.5, "data_wait_seconds": 0.0}
    validation = {f"losses/{task}": loss for task, loss in LOSSES.items()}
    validation |= {"epoch": 2, "total": 0.25, "seconds": 2.0}
    validation |= {f"metrics/idrid/{name}": value for name, value in IDRID.items()}
    events = [
        Event(wall_time=1e9, step=0, file_version="brain.Event:2"),
        Event(wall_time=1e9 + 0.5, step=4, session_log=SessionLog(status=SessionLog.START)),
        Event(wall_time=1e9 + 0.5, step=300, summary=scalars("train", step)),
        Event(wall_time=1e9 + 0.5, step=300, summary=scalars("validation", validation)),
    ]
    with open(HERE / "events.tfevents", "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
        writer.flush()


main()
