"""The long form: `python -m tests.chaos.adopting`; `make test` has a short one.

It plans and adopts the snapshots of a folder and of an RBD pool with a client that is killed twenty times, undoes that
with as many kills, and checks that each old name is back on its object and that nothing was done twice.
"""

import argparse
import sys
from contextlib import ExitStack, closing

from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import running, scratch
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.services.storage.ceph import Ceph
from tests.chaos.adopting.backends import Files, Images, Size
from tests.chaos.adopting.proof import adoption


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.chaos.adopting", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=2_000, help="the snapshots of RBD images")
    parser.add_argument("--volumes", type=int, default=40, help="the volumes of each backend")
    parser.add_argument("--kills", type=int, default=20, help="the kills of each command")
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    with ExitStack() as stack:
        broker, database = stack.enter_context(running(RabbitMQ)), stack.enter_context(running(MariaDB))
        ceph = stack.enter_context(running(Ceph))
        folder, cluster = stack.enter_context(scratch()), stack.enter_context(ceph.connected())
        files, images = Files(folder / "files"), stack.enter_context(closing(Images(ceph, cluster)))
        files.lay_out(Size(options.volumes, options.files))
        images.lay_out(Size(options.volumes, options.images))
        made = stack.enter_context(adoption(folder, broker, database, [files, images], options.seed))
        report = made.run(options.files + options.images, options.kills)
    sys.stdout.write(str(report))
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
